CREATE VIEW analytics.labels AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    of_study.pseudonym AS study,
    finding.label,
    finding.source,
    finding.confidence,
    finding.imported_at,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM finding
JOIN study ON study.pk = finding.study_pk AND study.hidden_at IS NULL
JOIN pseudonym AS of_study ON of_study.kind = 'study' AND of_study.original = study.study_instance_uid
LEFT JOIN named ON true;

COMMENT ON VIEW analytics.labels IS
    'The findings of studies: who named them (source), how sure (confidence, 0 to 1, null where not told), when they were imported';

CREATE VIEW analytics.labels_by_source AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    finding.label,
    finding.source,
    count(*) AS studies,
    count(finding.confidence) AS with_confidence,
    avg(finding.confidence) AS mean_confidence,
    count(*) FILTER (WHERE EXISTS (
        SELECT FROM finding AS other
        WHERE other.study_pk = finding.study_pk AND other.label = finding.label AND other.source <> finding.source
    )) AS named_by_another,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM finding
LEFT JOIN named ON true
GROUP BY
    finding.label, finding.source,
    named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.labels_by_source IS
    'How often each source names each finding, how sure it is, and how often another source names it of the same study too';
