"""Where the audit trail is shipped to: PORTAL_AUDIT_SYSLOG_URL and the CA of that server, checked at the start."""

from django.core.exceptions import ImproperlyConfigured


def check_syslog(url: str, ca_pem: str) -> None:
    """Raises ImproperlyConfigured, naming what is wrong."""
    if not url:
        if ca_pem:
            raise ImproperlyConfigured("PORTAL_AUDIT_SYSLOG_CA is set, but PORTAL_AUDIT_SYSLOG_URL is not.")
        return
    # Imported late: few portals ship, and all start.
    from tasks_app.sources.syslog import parse_server
    from tasks_app.sources.tls import Trust, build_context

    try:
        server = parse_server(url)
    except ValueError as error:
        raise ImproperlyConfigured(f"PORTAL_AUDIT_SYSLOG_URL: {error}") from None
    if ca_pem and not server.is_tls:
        raise ImproperlyConfigured("PORTAL_AUDIT_SYSLOG_CA is for syslog+tls://.")
    try:
        build_context(Trust(ca_pem=ca_pem))
    except ValueError as error:
        raise ImproperlyConfigured(f"PORTAL_AUDIT_SYSLOG_CA: {error}") from None
