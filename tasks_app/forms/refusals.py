"""Puts what a service refused onto the fields it is about."""

from django import forms

from tasks_app.errors import InvalidInput


def show_refusal(form: forms.Form, error: InvalidInput) -> None:
    """A sentence about a field the form does not have stands above the form."""
    for name, text in error.fields.items():
        form.add_error(name if name in form.fields else None, text)
