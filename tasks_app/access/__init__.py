"""Who may do what: one policy for pages, partials, streams and jobs."""
