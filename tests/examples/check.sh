#!/usr/bin/env bash
# Checks what people copy with the tools that people check it with: check.sh DIRECTORY-OF-THE-TOOLS
set -euo pipefail
tools=${1:?the directory of the tools}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

has() {
    command -v "$1" >/dev/null 2>&1 || { echo "not checked, as $1 is missing: $2"; return 1; }
}

"$tools/zizmor" --offline --no-progress --quiet . examples/github/*.yml
"$tools/hadolint" Dockerfile
"$tools/kubernetes-validate" --strict --quiet examples/kubernetes/*.yaml

if has systemd-analyze "the units"; then
    units=$(mktemp -d)
    trap 'rm -rf "$units"' EXIT
    cp examples/systemd/* "$units"
    # What it starts is not installed here.
    sed -i 's|^ExecStart=/usr/local/bin/azure-incremental|ExecStart=/bin/true|' "$units"/*.service
    systemd-analyze verify --man=no "$units"/*
    systemd-analyze security --offline=true --threshold=20 --no-pager "$units"/*.service | tail -n 1
fi

if has terraform "the format of examples/terraform"; then
    terraform fmt -check -diff examples/terraform
fi
