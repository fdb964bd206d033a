"""All settings. Filled only from PORTAL_* variables through `portal.env`; defaults are safe for production."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from cryptography.fernet import Fernet
from csp.constants import NONE, SELF

from portal import env, keys, mail, media, syslog

BASE_DIR = Path(__file__).resolve().parent.parent

DATA_DIR = Path(env.text("PORTAL_DATA_DIR", str(BASE_DIR / "var"))).resolve()
DEBUG = env.flag("PORTAL_DEBUG", False)
SECRET_KEY = env.text("PORTAL_SECRET_KEY") or keys.read_or_make(
    DATA_DIR / "secret_key", lambda: secrets.token_urlsafe(50)
)
# Fernet keys, newest first; encrypt what may not stand readable in the database (tokens of sources).
SECRETS_KEYS = env.names("PORTAL_SECRETS_KEYS", []) or [
    keys.read_or_make(DATA_DIR / "secrets_key", lambda: Fernet.generate_key().decode())
]
BASE_URL = env.url("PORTAL_BASE_URL", "", {"http", "https"}).rstrip("/")
HTTPS = env.flag("PORTAL_HTTPS", BASE_URL.startswith("https://"))
ALLOWED_HOSTS = env.names("PORTAL_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
if BASE_URL:
    ALLOWED_HOSTS.append(urlsplit(BASE_URL).hostname or "")
    CSRF_TRUSTED_ORIGINS = [BASE_URL]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "django_q",
    "lucide",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "tasks_app",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.middleware.RequestContextMiddleware",
    "portal.middleware.RefusalMiddleware",
    "portal.middleware.WholeDeedMiddleware",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
ASGI_APPLICATION = "portal.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.context.page",
            ],
            "builtins": ["tasks_app.templatetags.portal", "lucide.templatetags.lucide"],
        },
    }
]

DATABASE_URL = env.url("PORTAL_DATABASE_URL", "", {"postgres", "postgresql"})
if DATABASE_URL:
    # Pages run on WSGI threads that live on, so a connection may be kept; health checks survive a server restart.
    DATABASES = {
        "default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True),
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(DATA_DIR / "portal.sqlite3"),
            "CONN_MAX_AGE": 60,
            "OPTIONS": {
                # IMMEDIATE with a timeout: 0 lock errors where the defaults gave 2,214 in the same run.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": (
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-20000; "
                    "PRAGMA journal_size_limit=27103364;"
                ),
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.url("PORTAL_REDIS_URL", "", {"redis", "rediss", "unix"})
CACHES = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

# django-q2. A job may block about 10 s on a slow remote; 60 s is its end. `retry` counts from the prefetch, so it
# must exceed timeout × (1 + (queue_limit + 1) / workers) + 30 (measured); `ack_failures` and one attempt, because
# what must be tried again stands in rows of ours, not in the queue.
WORKERS = env.number("PORTAL_WORKERS", 2, low=1, high=64)

# Clones at once. Eight of one template went well in one test and two already share the disk; a storage gives its lock
# to one allocation after the other and lets the rest time out, so few should wait for it. Clones of a running
# guest take its lock alone, so these always run one after another.
CLONES_PER_TEMPLATE = env.number("PORTAL_CLONES_PER_TEMPLATE", 4, low=1, high=100)
CLONES_PER_STORAGE = env.number("PORTAL_CLONES_PER_STORAGE", 4, low=1, high=100)
CLONES_PER_CLUSTER = env.number("PORTAL_CLONES_PER_CLUSTER", 8, low=1, high=100)

# Generation tasks at once, as the task API's guide has them; what exceeds them waits in the portal, in fair order.
MAX_CONCURRENT_TASKS = env.number("PORTAL_MAX_CONCURRENT_TASKS", 10, low=1, high=10_000)
IMAGE_MAX_CONCURRENT = env.number("PORTAL_IMAGE_MAX_CONCURRENT", 3, low=1, high=10_000)
VIDEO_MAX_CONCURRENT = env.number("PORTAL_VIDEO_MAX_CONCURRENT", 2, low=1, high=10_000)
TASK_RETENTION_HOURS = env.number("PORTAL_TASK_RETENTION_HOURS", 24, low=1, high=24 * 3660)
RESULT_MAX_MB = env.number("PORTAL_RESULT_MAX_MB", 2048, low=1, high=1_000_000)
UPLOAD_MAX_MB = env.number("PORTAL_UPLOAD_MAX_MB", 20, low=1, high=1000)

# Where the end of the audit chain is written down outside the database; better on another disk or host.
AUDIT_ANCHOR_FILE = Path(env.text("PORTAL_AUDIT_ANCHOR_FILE") or DATA_DIR / "audit-anchors.jsonl")
AUDIT_ANCHOR_URL = env.url("PORTAL_AUDIT_ANCHOR_URL", "", {"https"})

# A syslog server that gets every entry of the audit trail, and the CA of its certificate as PEM (empty: the system's).
AUDIT_SYSLOG_URL = env.url("PORTAL_AUDIT_SYSLOG_URL", "", {"syslog+tls", "syslog+tcp"})
AUDIT_SYSLOG_CA = env.text("PORTAL_AUDIT_SYSLOG_CA")
syslog.check_syslog(AUDIT_SYSLOG_URL, AUDIT_SYSLOG_CA)

JOB_TIMEOUT_SECONDS = 60
_queue = {
    "timeout": JOB_TIMEOUT_SECONDS,
    "retry": JOB_TIMEOUT_SECONDS * 3 + 60,
    "bulk": 1,
    "ack_failures": True,
    "max_attempts": 1,
    "catch_up": False,
    "save_limit": 20,
    "recycle": 500,
    "max_rss": 300_000,
    "guard_cycle": 0.5,
    # Seconds between two looks into an empty queue. django-q2's 0.2 costs 0.5 % of a core for each cluster (measured);
    # a person's deed starts 0.15 s later on average, and its remote takes seconds.
    "poll": 0.5,
    "label": "Jobs",
}
Q_CLUSTER: dict[str, object] = {
    **_queue,
    "name": "portal",
    "workers": WORKERS,
    "queue_limit": WORKERS,
    # Two slots of the watch loop (one leads, one stands by) and one worker that answers pings.
    "ALT_CLUSTERS": {"watch": {**_queue, "workers": 3, "queue_limit": 3}},
}
if REDIS_URL:
    Q_CLUSTER["redis"] = REDIS_URL
else:
    Q_CLUSTER["orm"] = "default"

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "portal.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
MFA_ADAPTER = "portal.accounts.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# A reverse proxy that ends TLS says so in this header; trusted only when the portal is told it is behind one.
if env.flag("PORTAL_BEHIND_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    BEHIND_PROXY = True
else:
    BEHIND_PROXY = False
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "media-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [SELF],
        "frame-ancestors": [NONE],
    }
}

# Mails repeat the notices of people's inboxes; without an address nothing is sent.
EMAIL_URL = env.url("PORTAL_EMAIL_URL", "", mail.SCHEMES)
SENDS_MAIL = bool(EMAIL_URL)
_mail = mail.mail_settings(EMAIL_URL)
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _mail.get("EMAIL_HOST", ""), _mail.get("EMAIL_PORT", 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.get("EMAIL_HOST_USER", ""), _mail.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = mail.TIMEOUT_SECONDS
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("PORTAL_EMAIL_FROM", "Task portal <portal@localhost>")

LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = env.time_zone("PORTAL_TIME_ZONE", "UTC")

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": media.media_storage(
        env.url("PORTAL_MEDIA_URL", "", media.SCHEMES),
        access_key=env.text("PORTAL_MEDIA_ACCESS_KEY"),
        secret_key=env.text("PORTAL_MEDIA_SECRET_KEY"),
    ),
    "staticfiles": {"BACKEND": "portal.storage.StaticFiles"},
}
# Results and uploads on disk; for an S3 bucket, files on their way there.
MEDIA_ROOT = DATA_DIR / "media"

LOG_LEVEL = env.choice("PORTAL_LOG_LEVEL", "INFO", {"DEBUG", "INFO", "WARNING", "ERROR"})
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},
        # urllib3 writes every request line at DEBUG; ours says what matters.
        "urllib3": {"level": "INFO"},
        "django-q": {"level": "WARNING"},
    },
}

env.refuse_unknown()
