CREATE VIEW analytics.instances_by_state AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    instance.state,
    analytics_inner.shown_reason(instance.reason) AS reason,
    analytics_inner.known_modality(series.modality) AS modality,
    count(*) AS instances,
    sum(instance.size_bytes) AS bytes,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM instance
JOIN series ON series.pk = instance.series_pk
LEFT JOIN named ON true
GROUP BY
    instance.state, 2, 3,
    named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.instances_by_state IS
    'How many instances are in which state, and why: one row per state, reason and modality';
