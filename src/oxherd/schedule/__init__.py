"""When an event repeats: cron expressions and intervals, as pure values."""
