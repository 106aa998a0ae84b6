CREATE VIEW analytics.embeddings AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation)
SELECT
    anatomy.short AS anatomy,
    analytics.header_value(series.attributes, '00080070') AS manufacturer,
    analytics.header_value(series.attributes, '00081090') AS device_model,
    analytics_inner.known_view(instance.view) AS view,
    count(*) AS regions,
    count(DISTINCT study.patient_pk) AS patients,
    avg(region.score) AS mean_score,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM named
JOIN region ON region.model_pk = named.generation
JOIN anatomy ON anatomy.pk = region.anatomy_pk
JOIN instance ON instance.pk = region.instance_pk
JOIN series ON series.pk = instance.series_pk
JOIN study ON study.pk = series.study_pk AND study.hidden_at IS NULL
WHERE named.status <> 'retired'
GROUP BY
    anatomy.short, 2, 3, 4,
    named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.embeddings IS
    'How many embeddings there are: one row per generation, anatomy, device (manufacturer and model) and view';
