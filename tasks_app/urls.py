"""Addresses of the portal's pages."""

from django.urls import URLPattern, URLResolver, path

from tasks_app.views import (
    dashboard,
    guests,
    health,
    logs,
    looks,
    people,
    setup,
    sources,
    task,
    tasks,
    wizard,
)

app_name = "portal"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", dashboard.dashboard, name="dashboard"),
    path("tasks/", tasks.tasks, name="tasks"),
    path("tasks/new-count", tasks.new_count, name="tasks-new-count"),
    path("tasks/<int:task_id>/", task.task, name="task"),
    path("tasks/<int:task_id>/log", logs.log, name="task-log"),
    path("tasks/<int:task_id>/log.txt", logs.download, name="task-log-download"),
    path("tasks/<int:task_id>/raw", task.raw, name="task-raw"),
    path("tasks/<int:task_id>/actions", task.actions, name="task-actions"),
    path("tasks/<int:task_id>/cancel", task.cancel, name="task-cancel"),
    path("tasks/<int:task_id>/acknowledge", task.acknowledge, name="task-acknowledge"),
    path("look", looks.look, name="look"),
    path("healthz", health.healthz, name="healthz"),
    # connecting a source, and sources
    path("sources/", sources.sources, name="sources"),
    path("sources/add/", wizard.address, name="source-add"),
    path("sources/add/certificate/", wizard.certificate, name="source-add-certificate"),
    path("sources/add/token/", wizard.token, name="source-add-token"),
    path("sources/add/commands/", wizard.commands, name="source-add-commands"),
    path("sources/add/check/", wizard.check, name="source-add-check"),
    path("sources/add/finish/", wizard.finish, name="source-add-finish"),
    path("sources/<int:source_id>/", sources.source, name="source"),
    path("sources/<int:source_id>/sync/", wizard.sync, name="source-sync"),
    path("sources/<int:source_id>/pause", sources.pause, name="source-pause"),
    path("sources/<int:source_id>/resume", sources.resume, name="source-resume"),
    path("sources/<int:source_id>/check", sources.check, name="source-check"),
    path("sources/<int:source_id>/change", sources.change, name="source-change"),
    path("sources/<int:source_id>/token", sources.token, name="source-token"),
    path("sources/<int:source_id>/certificate", sources.certificate, name="source-certificate"),
    path("sources/<int:source_id>/remove", sources.remove, name="source-remove"),
    # guests and what is started on them
    path("guests/", guests.guests, name="guests"),
    path("guests/<int:guest_id>/", guests.guest, name="guest"),
    path("guests/<int:guest_id>/<str:action>", guests.action, name="guest-action"),
    path("submissions/<int:submission_id>/", guests.submission, name="submission"),
    # people
    path("people/", people.people, name="people"),
    path("people/add/", people.add, name="person-add"),
    path("people/<int:person_id>/", people.person, name="person"),
    path("people/<int:person_id>/change", people.change, name="person-change"),
    path("people/<int:person_id>/password", people.password, name="person-password"),
    path("people/<int:person_id>/grant", people.grant, name="person-grant"),
    path("people/<int:person_id>/revoke/<int:grant_id>", people.revoke, name="person-revoke"),
    path("people/<int:person_id>/<str:what>", people.switch, name="person-switch"),
    path("setup/<str:token>/", setup.setup, name="setup"),
]
