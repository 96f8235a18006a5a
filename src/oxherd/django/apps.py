"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules


class OxherdConfig(AppConfig):
    """Discovers the events of the installed apps, and has the settings checked."""

    name = "oxherd.django"
    label = "oxherd"
    verbose_name = "oxherd"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Declare the queues of tasks, and import each app's events.

        Neither where OXHERD is wrong, which the checks say, and each use of `herd`.
        """
        from oxherd.django.checks import check_deployment, check_handlers, check_pools, check_settings
        from oxherd.django.connections import note_connection
        from oxherd.django.settings import find_faults, read_settings
        from oxherd.django.tasks.discovery import declare_task_queues

        checks.register(check_settings, "oxherd")
        checks.register(check_handlers, "oxherd")
        checks.register(check_pools, "oxherd")
        checks.register(check_deployment, "oxherd", deploy=True)
        connection_created.connect(note_connection, dispatch_uid="oxherd")
        if any(find_faults()):
            return
        declare_task_queues()
        module = read_settings().events_module
        try:
            autodiscover_modules(module)
        except Exception as error:
            installed = ", ".join(config.name for config in apps.get_app_configs())
            error.add_note(f'(oxherd.django imports the module "{module}" of each installed app: {installed})')
            raise
