CREATE VIEW analytics.generation_progress AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation)
SELECT
    named.status,
    analysis.state,
    analytics_inner.shown_reason(analysis.reason) AS reason,
    count(*) AS instances,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM named
JOIN analysis ON analysis.model_pk = named.generation
GROUP BY
    named.status, analysis.state, 3,
    named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.generation_progress IS
    'What each generation said of how many instances, and how many it has still to look at (waiting, indexing)';
