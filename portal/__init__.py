"""The Django project: settings, entry points, supervisor."""
