{{- define "regionmir.labels" -}}
app.kubernetes.io/name: regionmir
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "regionmir.name" -}}
{{ printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "regionmir.environment" -}}
- name: REGIONMIR_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: database-url}}
- name: REGIONMIR_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: redis-url}}
{{- if .Values.replicaUrl }}
- name: REGIONMIR_DATABASE_REPLICA_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: database-replica-url}}
{{- end }}
- name: REGIONMIR_SITE_KEY_FILE
  value: /etc/regionmir/site.key
- name: REGIONMIR_DECODE_MEMORY_BYTES
  value: {{ .Values.decodeMemoryBytes | int64 | quote }}
{{- if .Values.storage.s3Url }}
- name: REGIONMIR_S3_URL
  value: {{ .Values.storage.s3Url | quote }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $key }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.existingSecret }}, key: {{ $key }}, optional: true}}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "regionmir.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "regionmir.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "regionmir.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
- {name: site-key, mountPath: /etc/regionmir, readOnly: true}
{{- end }}

{{- define "regionmir.volumes" -}}
- name: tmp
  emptyDir: {}
- name: site-key
  secret:
    secretName: {{ .Values.existingSecret }}
    items: [{key: site.key, path: site.key}]
    defaultMode: 0440
- name: data
{{- if .Values.storage.s3Url }}
  emptyDir: {}
{{- else }}
  persistentVolumeClaim:
    claimName: {{ .Values.storage.existingClaim | default (printf "%s-objects" .Release.Name) }}
{{- end }}
{{- end }}
