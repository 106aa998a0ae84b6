CREATE VIEW analytics.instances_by_state AS
SELECT instance.state, instance.reason, series.modality, count(*) AS instances, sum(instance.size_bytes) AS bytes
FROM instance
JOIN series ON series.pk = instance.series_pk
GROUP BY instance.state, instance.reason, series.modality;

COMMENT ON VIEW analytics.instances_by_state IS
    'How many instances are in which state, and why: one row per state, reason and modality';
