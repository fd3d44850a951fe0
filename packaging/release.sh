#!/usr/bin/env bash
# Makes the whole folder of a release from the commit that is checked out: packages, static programs, image, bill of
# materials, licences, sums, signature. Everything is compiled without a network, from sources that were fetched before.
#
#   packaging/release.sh OUT [--vendor DIR] [--key minisign.key]
#
# OUT must not exist. --vendor names the sources of all dependencies (`cargo vendor --versioned-dirs DIR`); without it they
# are put there from what cargo has fetched. --key signs; without it the sums stand alone, and that is said.
# Needs cargo-deb, cargo-auditable, lintian, python3 and, with --key, minisign. As root the build has no network at all.
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"

out="" vendor="" key=""
while (($#)); do
  case "$1" in
    --vendor) vendor="$(realpath "$2")"; shift 2 ;;
    --key) key="$(realpath "$2")"; shift 2 ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) out="$1"; shift ;;
  esac
done
[ -n "$out" ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
[ ! -e "$out" ] || { echo "release: \`$out\` is there already" >&2; exit 2; }
[ -z "$(git -C "$here" status --porcelain)" ] || { echo "release: there are changes that are not committed" >&2; exit 2; }
for need in cargo-deb cargo-auditable lintian python3 ${key:+minisign}; do
  command -v "$need" >/dev/null || { echo "release: \`$need\` is missing" >&2; exit 2; }
done
mkdir -p "$out"
out="$(realpath "$out")"

say() { printf '\n== %s\n' "$*"; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
git clone --quiet --no-hardlinks "$here" "$work/muster"
cd "$work/muster"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH

say "Sources"
if [ -z "$vendor" ]; then
  vendor="$work/vendor"
  cargo vendor --quiet --locked --versioned-dirs "$vendor" >/dev/null
fi
mkdir -p .cargo
cat >.cargo/config.toml <<CONFIG
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "$vendor"
[net]
offline = true
CONFIG
export CARGO_NET_OFFLINE=true
sealed=()
if [ "$(id -u)" -eq 0 ] && unshare -n true 2>/dev/null; then sealed=(unshare -n); else echo "the build is told to stay offline, and not kept from the network"; fi

say "Packages"
export REMAP="--remap-path-prefix=$vendor=/crates"
"${sealed[@]}" packaging/build-deb --profile dist --out "$out"
lintian --fail-on error,warning "$out"/*.deb

say "Static programs"
made="$work/static"
mkdir "$made"
export RUSTFLAGS="--remap-path-prefix=$PWD=/muster $REMAP"
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  RUSTFLAGS+=" --remap-path-prefix=$sources=/crates"
done
musl=x86_64-unknown-linux-musl
if [ -d "$(rustc --print target-libdir --target $musl 2>/dev/null)" ]; then
  echo "for $musl"
  "${sealed[@]}" cargo auditable build --locked --profile dist --bins --target $musl
  cp target/$musl/dist/muster target/$musl/dist/muster-agent "$made"
else
  # The standard library for musl is not here: glibc, linked in whole, does the same. Only this last step differs from
  # the packages' programs, so that nothing else is compiled again.
  echo "with glibc linked in whole"
  for program in muster muster-agent; do
    "${sealed[@]}" cargo auditable rustc --locked --profile dist --bin "$program" -- -C target-feature=+crt-static
    cp "target/dist/$program" "$made"
  done
fi
for program in muster muster-agent; do
  if ldd "$made/$program" 2>&1 | grep -q '=>'; then echo "release: \`$program\` is not static" >&2; exit 1; fi
  folder="$work/$program-$version"
  mkdir "$folder"
  cp "$made/$program" LICENSE README.md CHANGELOG.md target/papers/third-party.txt "$folder"
  if [ "$program" = muster ]; then cp config/muster.toml "$folder"; else cp target/papers/agent/agent.toml "$folder"; fi
  tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c "$program-$version" |
    gzip -n9 >"$out/$program-$version-linux-amd64.tar.gz"
done

say "Image"
python3 packaging/oci.py "$made/muster" "$version" "$out/muster-$version-oci-amd64.tar"

say "Bill of materials and licences"
python3 packaging/sbom.py --sbom "$out/muster-$version.cdx.json" --licences "$out/third-party.txt"

say "Sums"
cd "$out"
sha256sum -- * >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" .
if [ -n "$key" ]; then
  minisign -S -s "$key" -m SHA256SUMS -t "muster $version" </dev/null
else
  echo "not signed: no --key was given"
fi
ls -l
