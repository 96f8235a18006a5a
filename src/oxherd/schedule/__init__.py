"""When an event repeats: values whose `next(after)` is the first tick strictly after an aware datetime.

Pure: no clock, Redis or asyncio; imports `errors` only. A new kind of schedule is a new module, and joins `When`.
"""

from oxherd.schedule.cron import Cron
from oxherd.schedule.every import Every

When = Cron | Every
