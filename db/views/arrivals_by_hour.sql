CREATE VIEW analytics.arrivals_by_hour AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    date_trunc('hour', instance.received_at) AS hour,
    instance.source_ae,
    count(*) AS instances,
    sum(instance.size_bytes) AS bytes,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY instance.indexed_at - instance.received_at) AS median_time_to_index,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM instance
LEFT JOIN named ON true
GROUP BY 1, 2, named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.arrivals_by_hour IS
    'What came in from whom, and how long half of it waited until indexed: one row per hour and source AE title';
