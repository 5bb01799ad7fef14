#!/bin/bash
# start.sh SERVER DIR PORT [MORE]: a storage server of build.sh on 127.0.0.1:PORT with its data in DIR, in the foreground.
# Ends with its process. S3: access key `test`, secret key `testsecret`, a bucket is a folder of DIR; versitygw speaks TLS
# with the certificate in the folder MORE (certificates.sh), s3s-fs takes buckets in the host's name below the domain MORE.
# Azure Blob: the account `devstoreaccount1` with the key that Azurite is known for. Google Cloud Storage: no credentials;
# fake-gcs-server has its JSON API, s3s-fs-anonymous what its XML API has in common with S3's. Ceph: users are made by
# radosgw.sh. STORAGE_HOST is another address to listen on, for versitygw only.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
server=${1:?usage: start.sh SERVER DIR PORT [MORE]} dir=${2:?a directory} port=${3:?a port} more=${4:-}

program=$("$GROUND/storage/build.sh" "$server")
mkdir -p "$dir"
case $server in
  versitygw)
    known=$(dirname "$dir")/known-of-${dir##*/}     # what it knows of objects beside their bytes
    mkdir -p "$known"
    exec "$program" --quiet --access test --secret testsecret --port "${STORAGE_HOST:-127.0.0.1}:$port" \
      ${more:+--cert "$more/server.crt" --key "$more/server.key"} posix --sidecar "$known" "$dir" ;;
  s3s-fs)
    exec "$program" --access-key test --secret-key testsecret ${more:+--domain "$more"} --host 127.0.0.1 --port "$port" "$dir" ;;
  s3s-fs-anonymous) exec "$program" --host 127.0.0.1 --port "$port" "$dir" ;;
  fake-gcs-server)
    exec "$program" -scheme http -host 127.0.0.1 -port "$port" -public-host "127.0.0.1:$port" \
      -backend memory -log-level error ;;
  azurite)
    exec "$program" --blobHost 127.0.0.1 --blobPort "$port" --location "$dir" --silent --skipApiVersionCheck \
      --disableTelemetry ;;
  radosgw) exec "$GROUND/storage/radosgw.sh" run "$dir" "$port" ;;
esac
