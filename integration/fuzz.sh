#!/bin/bash
# Runs each fuzz target of the house for a time: FUZZTIME (10s, 1000x; 30s when it is not set). A target that fails leaves
# what made it fail in its package's testdata/fuzz, from where every later `go test` runs it again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
go=${GO:-go} time=${FUZZTIME:-30s} failed=0 targets=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$("$go" env GOCACHE)/fuzz

# One program a package serves all of its targets.
while read -r package; do
	program=$work/${package//\//_}
	if ! "$go" test -c -vet=off -fuzz Fuzz -o "$program" "./$package"; then
		failed=$((failed + 1))
		continue
	fi
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$package"/*_test.go | sed 's/^func //' | sort); do
		if out=$(cd "$package" && "$program" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" \
			-test.fuzzcachedir "$cache/cairn/$package" -test.parallel "${FUZZPROCS:-2}" 2>&1); then
			result=ok
		elif grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out"; then
			result=ok # its time ran out while a run was under way: Go's fuzzer calls that a failure, and nothing was found
		else
			result=FAILED
			failed=$((failed + 1))
		fi
		runs=$(sed -n 's/^fuzz: elapsed: .*, execs: \([0-9]*\).*/\1/p' <<<"$out" | tail -n 1)
		printf '%-6s %-26s %-24s %s runs\n' "$result" "$target" "$package" "${runs:-0}"
		[ "$result" = ok ] || printf '%s\n' "$out"
		targets=$((targets + 1))
	done
done < <(grep -rlE --include='*_test.go' '^func Fuzz' chunkstore index engine fs cmd 2>/dev/null | xargs -n 1 dirname | sort -u)

if [ "$targets" -lt 8 ]; then
	echo "only $targets fuzz targets were found" >&2
	exit 1
fi
echo "$targets fuzz targets, $failed failed"
[ "$failed" -eq 0 ]
