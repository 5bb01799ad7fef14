#!/bin/bash
# bootstrap.sh: checks that this machine can build and test the project, and installs the Debian packages that are missing.
# Says nothing when all is there. Rust and Go are not installed: how is a matter of taste, and the message says where from.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { missing+=("$1"); }

# version_of COMMAND...: the first number with a dot in what it prints
version_of() { "$@" 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1 || true; }
at_least() { [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
go=$(sed -n 's/^go //p' tests/e2e/ground/kubernetes/go.mod)

command -v cargo >/dev/null || need "cargo is missing: install Rust $rust or newer (https://rustup.rs)"
if command -v rustc >/dev/null; then
  at_least "$(version_of rustc --version)" "$rust" ||
    need "rustc is $(version_of rustc --version), and $rust or newer is needed (rustup update)"
  rustup component list --installed 2>/dev/null | grep -q '^clippy' || command -v cargo-clippy >/dev/null ||
    need "clippy is missing (rustup component add clippy rustfmt)"
fi
# Helm, and Kubernetes and Vitess for the end-to-end tests, are built from their Go modules.
if command -v go >/dev/null; then
  at_least "$(version_of go version)" "$go" ||
    need "go is $(version_of go version), and $go or newer is needed (https://go.dev/doc/install)"
else
  need "go is missing: install Go $go or newer (https://go.dev/doc/install)"
fi

if [ ${#missing[@]} -gt 0 ]; then
  printf 'This machine cannot build vitess-backup-operator yet:\n' >&2
  printf '  %s\n' "${missing[@]}" >&2
  exit 1
fi

# A C compiler for the compression libraries (ISA-L's assembler and autotools too), the roots for the image, certificates for
# the storage tests, Lua for the test of Argo CD's health script; the rest is the cluster's.
needed=(gcc libc6-dev make ca-certificates openssl lua5.1)
isal=()
[ "$(uname -m)" != x86_64 ] || isal=(nasm autoconf automake libtool)
needed+=("${isal[@]}")
if command -v dpkg-query >/dev/null; then
  exec tests/e2e/ground/packages.sh "${needed[@]}"
fi
[ ${#isal[@]} -eq 0 ] || isal=(nasm autoreconf libtoolize)
for command in cc make jq curl openssl lua5.1 "${isal[@]}"; do
  command -v "$command" >/dev/null || need "$command"
done
[ ${#missing[@]} -eq 0 ] || { printf 'Please install: %s\n' "${missing[*]}" >&2; exit 1; }
