#!/usr/bin/env bash
# Installs Debian's Redis, in which the rate limit service of the tests counts. The tests start it themselves.
set -euo pipefail
if command -v redis-server >/dev/null; then exit 0; fi
echo "installing redis-server"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null; }; then
  echo "redis.sh: redis-server cannot be installed, so the tests of global rate limits are skipped: install it, and run them again" >&2
fi
