CREATE VIEW analytics.instance AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    of_instance.pseudonym AS instance,
    of_study.pseudonym AS study,
    of_patient.pseudonym AS patient,
    instance.state,
    analytics_inner.shown_reason(instance.reason) AS reason,
    analytics_inner.known_modality(series.modality) AS modality,
    analytics_inner.known_view(instance.view) AS view,
    analytics_inner.known_sex(patient.sex) AS sex,
    analytics.age_band(instance.age_years) AS age_band,
    analytics.header_value(series.attributes, '00080070') AS manufacturer,
    analytics.header_value(series.attributes, '00081090') AS device_model,
    study.study_date + patient.date_shift_days AS study_date,
    instance.rows,
    instance.columns,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM instance
JOIN series ON series.pk = instance.series_pk
JOIN study ON study.pk = series.study_pk AND study.hidden_at IS NULL
JOIN patient ON patient.pk = study.patient_pk
JOIN pseudonym AS of_instance ON of_instance.kind = 'instance' AND of_instance.original = instance.sop_instance_uid
JOIN pseudonym AS of_study ON of_study.kind = 'study' AND of_study.original = study.study_instance_uid
JOIN pseudonym AS of_patient ON of_patient.kind = 'patient' AND of_patient.original = patient.key
LEFT JOIN named ON true;

COMMENT ON VIEW analytics.instance IS
    'One row per instance under its pseudonyms, with what a cohort is chosen by. study_date is moved by the days of its patient';
