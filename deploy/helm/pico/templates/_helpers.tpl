{{- define "pico.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pico.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "pico.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "pico.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* What the pods of a release have in common; a component's pods have app.kubernetes.io/component as well. */}}
{{- define "pico.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pico.labels" -}}
{{ include "pico.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The server's file: what the chart knows, then what `config` says. */}}
{{- define "pico.config" -}}
{{- $join := list (printf "%s-nodes" (include "pico.fullname" .)) -}}
{{- $own := dict "cluster" (dict "node_id_prefix" "${POD_NAME}-" "join" $join) -}}
{{- if dig "cluster" "node_id" "" .Values.config -}}
{{- fail "config.cluster.node_id: all pods would have one node ID; leave it out" -}}
{{- end -}}
{{- $proxy := dict -}}
{{- if .Values.publicUrl -}}{{- $_ := set $proxy "public_url" .Values.publicUrl -}}{{- end -}}
{{- if .Values.trustedProxies -}}{{- $_ := set $proxy "trusted_proxies" .Values.trustedProxies -}}{{- end -}}
{{- if $proxy -}}{{- $_ := set $own "proxy" $proxy -}}{{- end -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) -}}
{{- end -}}

{{/* The number of a port: the end of its bind address. Arguments: context, bind address or "", default. */}}
{{- define "pico.port" -}}
{{- $addr := index . 1 -}}
{{- if $addr -}}{{- splitList ":" $addr | last -}}{{- else -}}{{- index . 2 -}}{{- end -}}
{{- end -}}
{{- define "pico.ports" -}}
proxy: {{ include "pico.port" (list . (dig "proxy" "bind_addr" "" .Values.config) 8000) }}
upstream: {{ include "pico.port" (list . (dig "upstream" "bind_addr" "" .Values.config) 8001) }}
admin: {{ include "pico.port" (list . (dig "admin" "bind_addr" "" .Values.config) 8002) }}
gossip: {{ include "pico.port" (list . (dig "cluster" "gossip" "bind_addr" "" .Values.config) 8003) }}
{{- end -}}

{{/* Not empty where several workers may run: by the file, or by a flag. */}}
{{- define "pico.hasWorkers" -}}
{{- if ne "1" (toString (dig "workers" 1 .Values.config)) -}}yes{{- end -}}
{{- range .Values.extraArgs -}}{{- if hasPrefix "--workers" . -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{/* https where the port has a certificate. Arguments: context, section of the port. */}}
{{- define "pico.scheme" -}}
{{- if dig (index . 1) "tls" "cert" "" (index . 0).Values.config -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{/* Seconds of a duration as Pico writes it: 1h, 1m30s, 100ms. Arguments: the key, the duration. */}}
{{- define "pico.seconds" -}}
{{- $text := index . 1 | toString -}}
{{- if not (regexMatch "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$" $text) -}}
{{- fail (printf "config.%s: wants a duration such as 45s, not %q" (index . 0) $text) -}}
{{- end -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?(ms|s|m|h)" $text -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $factor := index (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit -}}
{{- $total = addf $total (mulf (regexFind "^[0-9.]+" . | float64) $factor) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{- define "pico.checkTimes" -}}
{{- $drain := default "5s" .Values.config.drain_delay -}}
{{- $grace := default "45s" .Values.config.grace_period -}}
{{- $drainS := include "pico.seconds" (list "drain_delay" $drain) | float64 -}}
{{- $graceS := include "pico.seconds" (list "grace_period" $grace) | float64 -}}
{{- if not (lt $drainS $graceS) -}}
{{- fail (printf "config.drain_delay (%s) must be less than config.grace_period (%s)" $drain $grace) -}}
{{- end -}}
{{- if not (lt $graceS (float64 .Values.terminationGracePeriodSeconds)) -}}
{{- fail (printf "config.grace_period (%s) must be less than terminationGracePeriodSeconds (%vs): Kubernetes would kill a node that still has requests" $grace .Values.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- end -}}

{{- define "pico.agentConfig" -}}
{{- $root := index . 0 -}}{{- $agent := index . 1 -}}
{{- $config := deepCopy (default (dict) $agent.config) -}}
{{- $connect := default (dict) $config.connect -}}
{{- if not $connect.url -}}
{{- if not $root.Values.server.enabled -}}
{{- fail (printf "agents: %s: config.connect.url is missing, and server.enabled is false" $agent.name) -}}
{{- end -}}
{{- $_ := set $connect "url" (printf "%s://%s:%v" (include "pico.scheme" (list $root "upstream")) (include "pico.fullname" $root) $root.Values.services.traffic.upstreamPort) -}}
{{- end -}}
{{- if $agent.tokenSecret -}}
{{- $_ := set $connect "token_file" (printf "/secrets/token/%s" (default "token" $agent.tokenSecret.key)) -}}
{{- end -}}
{{- $_ := set $config "connect" $connect -}}
{{- $admin := default (dict) $config.admin -}}
{{- if not $admin.bind_addr -}}{{- $_ := set $admin "bind_addr" ":8004" -}}{{- end -}}
{{- $_ := set $config "admin" $admin -}}
{{- $_ := set $config "listeners" $agent.listeners -}}
{{- toYaml $config -}}
{{- end -}}
