CREATE VIEW analytics.queries_by_day AS
SELECT
    date_trunc('day', asked_at) AS day,
    kind,
    outcome,
    count(*) AS queries,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS median_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms
FROM query_log
GROUP BY 1, 2, 3;

COMMENT ON VIEW analytics.queries_by_day IS
    'How many queries were asked, how they ended and how long they took: one row per day, kind and outcome';
