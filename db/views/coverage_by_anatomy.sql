CREATE VIEW analytics.coverage_by_anatomy AS
SELECT
    model.name AS model,
    model.version,
    model.status,
    anatomy.short AS anatomy,
    count(region.pk) AS regions,
    avg(region.score) AS mean_score,
    count(region.pk)::float
        / nullif((SELECT count(*) FROM instance WHERE instance.state = 'indexed'), 0) AS share_of_indexed
FROM model
CROSS JOIN LATERAL unnest(model.anatomy_pks) AS found (anatomy_pk)
JOIN anatomy ON anatomy.pk = found.anatomy_pk
LEFT JOIN region ON region.model_pk = model.pk AND region.anatomy_pk = anatomy.pk
GROUP BY model.pk, anatomy.pk;

COMMENT ON VIEW analytics.coverage_by_anatomy IS
    'In how many indexed instances each model found each of its anatomies: one row per model and anatomy';
