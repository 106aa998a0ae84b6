CREATE FUNCTION analytics_inner.same_person(of_patient bigint) RETURNS bigint[]
LANGUAGE sql STABLE
RETURN ARRAY(
    SELECT of_patient
    UNION
    SELECT other.pk
    FROM patient AS own
    JOIN patient AS other ON other.patient_id = own.patient_id
    WHERE own.pk = of_patient AND own.patient_id <> '' AND (own.issuer = '' OR other.issuer IN (own.issuer, ''))
);

COMMENT ON FUNCTION analytics_inner.same_person IS
    'A patient and those who may be the same one: the same PatientID, issuers that do not contradict (db.patients.same_person)';
