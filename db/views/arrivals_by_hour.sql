CREATE VIEW analytics.arrivals_by_hour AS
SELECT
    date_trunc('hour', received_at) AS hour,
    source_ae,
    count(*) AS instances,
    sum(size_bytes) AS bytes,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY indexed_at - received_at) AS median_time_to_index
FROM instance
GROUP BY 1, 2;

COMMENT ON VIEW analytics.arrivals_by_hour IS
    'What came in from whom, and how long half of it waited until indexed: one row per hour and source AE title';
