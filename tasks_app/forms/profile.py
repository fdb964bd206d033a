"""What a person keeps about themselves. The service judges the keys."""

from django import forms


class ProfileForm(forms.Form):
    ssh_keys = forms.CharField(
        required=False,
        max_length=100_000,
        strip=False,
        label="Public SSH keys",
        help_text="One on a line, as in ~/.ssh/id_ed25519.pub. They are put into machines you order from now on.",
        widget=forms.Textarea(
            attrs={
                "rows": 6,
                "class": "code",
                "spellcheck": "false",
                "autocomplete": "off",
                "placeholder": "ssh-ed25519 AAAA… you@laptop",
            }
        ),
    )
