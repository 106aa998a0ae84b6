CREATE VIEW analytics_inner.film_key AS
SELECT
    instance.pk AS instance_pk,
    study.pk AS study_pk,
    of_instance.pseudonym AS instance,
    of_study.pseudonym AS study,
    of_patient.pseudonym AS patient
FROM instance
JOIN series ON series.pk = instance.series_pk
JOIN study ON study.pk = series.study_pk AND study.hidden_at IS NULL
JOIN patient ON patient.pk = study.patient_pk
JOIN pseudonym AS of_instance ON of_instance.kind = 'instance' AND of_instance.original = instance.sop_instance_uid
JOIN pseudonym AS of_study ON of_study.kind = 'study' AND of_study.original = study.study_instance_uid
JOIN pseudonym AS of_patient ON of_patient.kind = 'patient' AND of_patient.original = patient.key;
