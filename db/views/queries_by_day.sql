CREATE VIEW analytics.queries_by_day AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    date_trunc('day', query_log.asked_at) AS day,
    query_log.kind,
    query_log.outcome,
    count(*) AS queries,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY query_log.duration_ms) AS median_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY query_log.duration_ms) AS p95_ms,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM query_log
LEFT JOIN named ON true
GROUP BY 1, 2, 3, named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.queries_by_day IS
    'How many queries were asked, how they ended and how long they took: one row per day, kind and outcome';
