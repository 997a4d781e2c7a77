#!/usr/bin/env bash
# curl with the server: every refusal, the 101 for RFC 6455's sample key, and a session that is closed with
# 1001 on SIGTERM. For connections that stay open, curl transfers raw bytes (telnet://).

set -u
export LC_ALL=C

main() {
    start_server --allowed-origins https://allowed.example
    check_refusals
    check_handshake
    drain

    start_server --allowed-origins https://allowed.example --missing-origin refuse \
        --max-connections 1
    check_connection_limit

    echo "$(curl --version | sed -n '1s/ (.*//p'): 13 refusals, 101," \
        '1001 "drained" on SIGTERM'
}

connection='-HConnection: Upgrade'
upgrade='-HUpgrade: websocket'
version='-HSec-WebSocket-Version: 13'
key='-HSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
valid=("$connection" "$upgrade" "$version" "$key")
allowed='-HOrigin: https://allowed.example'

check_refusals() {
    expect_refusal 404 not_found "${valid[@]}" --request-target /
    expect_refusal 405 method_not_allowed "${valid[@]}" --request POST
    expect_header 'allow: GET'
    expect_refusal 505 http_version "${valid[@]}" --http1.0

    expect_refusal 400 bad_host "${valid[@]}" -H 'Host:'
    expect_refusal 400 bad_host "${valid[@]}" -H $'Another: line\r\nHost: another.example'
    expect_refusal 400 has_body "${valid[@]}" --request GET --data body
    expect_refusal 400 has_body "${valid[@]}" -H 'Content-Length: 5'
    expect_refusal 400 has_body "${valid[@]}" -H 'Transfer-Encoding: chunked' --request GET --data body

    expect_refusal 426 not_an_upgrade
    expect_header 'upgrade: websocket'
    expect_header 'connection: Upgrade'
    expect_refusal 426 not_an_upgrade "$connection" "$version" "$key"
    expect_refusal 426 not_an_upgrade "$upgrade" "$version" "$key"
    expect_refusal 426 websocket_version "$connection" "$upgrade" "$key"
    expect_refusal 426 websocket_version "$connection" "$upgrade" "$key" -H 'Sec-WebSocket-Version: 8'
    expect_header 'sec-websocket-version: 13'

    expect_refusal 400 bad_key "$connection" "$upgrade" "$version"
    expect_refusal 400 bad_key "$connection" "$upgrade" "$version" -H 'Sec-WebSocket-Key: c2hvcnQ='
    expect_refusal 400 bad_key "${valid[@]}" "$key"

    expect_refusal 400 bad_origin "${valid[@]}" "$allowed" "$allowed"
    expect_refusal 400 bad_origin "${valid[@]}" -H 'Origin: garbage'
    expect_refusal 403 origin_refused "${valid[@]}" -H 'Origin: https://other.example'
    expect_refusal 403 origin_refused "${valid[@]}" -H 'Origin: null'
}

check_handshake() {
    # curl waits for data after the 101, and disconnects after --max-time.
    request "${valid[@]}" "$allowed" --max-time 1
    expect 'the status of the response to a valid request' 101 "$status"
    expect_header 'upgrade: websocket'
    expect_header 'connection: Upgrade'
    expect_header 'sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    await log '"event":"closed".*"cause":"disconnected"'
}

drain() {
    connect session
    send_valid_request session
    await session '^HTTP/1.1 101 '
    connect idle
    send idle 'GET / HTTP/1.1' 'Host: localhost' ''
    await idle '^not_found:'

    kill "$server"
    await session "$close_1001_drained"
    send_valid_request idle
    await idle '^HTTP/1.1 503 '
    await idle '^retry-after: 1'
    await idle '^draining:'
    expect_clean_exit session
}

check_connection_limit() {
    connect only
    send_valid_request only
    await only '^HTTP/1.1 101 '
    expect_refusal 503 connection_limit "${valid[@]}" "$allowed"
    expect_header 'retry-after: 5'
    expect_refusal 403 origin_missing "${valid[@]}"

    kill "$server"
    await only "$close_1001_drained"
    expect_clean_exit only
}

# Starts the server on a free port. It exits on SIGTERM, or after 15 s.
start_server() { # SETTING...
    : >"$folder/log"
    timeout --foreground --kill-after=5 15 \
        env -i "$program" --listen 127.0.0.1:0 --log-format json "$@" 2>"$folder/log" &
    server=$!
    await log '"event":"listening"'
    address=${line#*'"address":"'}
    address=${address%%'"'*}
}

# Answers the Close frame of the only open session, and checks that the server exits cleanly.
expect_clean_exit() { # CONNECTION
    printf '\x88\x82\0\0\0\0\x03\xe9' >&"${input[$1]}"
    wait "$server"
    expect "the server's exit code" 0 $?
    await log '"event":"closed".*"cause":"drained"'
    expect 'the code in the closed line' 1001 "$(field code)"
    expect 'clean in the closed line' true "$(field clean)"
}

field() { # NAME
    sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" <<<"$line"
}

curl=(curl --disable --silent --noproxy '*')

# Sends a request, and parses the response.
request() { # ARGUMENT...
    local answer
    answer=$("${curl[@]}" --max-time 10 --include "$@" "http://$address/ws/status")
    head=${answer%%$'\r\n\r\n'*}
    status=${head#* }
    status=${status%% *}
    word=${answer#*$'\r\n\r\n'}
    word=${word%%:*}
}

expect_refusal() { # STATUS WORD ARGUMENT...
    request "${@:3}"
    expect "the answer to curl ${*:3}" "$1 $2" "$status $word"
}

# Checks that the response has a header. The server writes names in lower case.
expect_header() { # HEADER
    case "$head"$'\r\n' in
        *$'\r\n'"$1"$'\r\n'*) ;;
        *) expect "a header of the answer $status" "$1" "${head//$'\r\n'/, }" ;;
    esac
}

declare -A input

# Opens a connection that stays open; the server's output is in the file of this name.
connect() { # CONNECTION
    mkfifo "$folder/$1.in"
    # --upload-file . makes curl read and write without blocking, but not with --max-time.
    timeout 15 "${curl[@]}" --no-buffer --upload-file . "telnet://$address" \
        <"$folder/$1.in" >"$folder/$1" 2>/dev/null &
    exec {fd}>"$folder/$1.in"
    input[$1]=$fd
}

send() { # CONNECTION LINE...
    printf '%s\r\n' "${@:2}" >&"${input[$1]}"
}

send_valid_request() { # CONNECTION
    send "$1" 'GET /ws/status HTTP/1.1' 'Host: localhost' "${allowed#-H}" "${valid[@]#-H}" ''
}

close_1001_drained=$'\x88\x09\x03\xe9drained'

# Waits for a matching line of a file.
await() { # FILE PATTERN
    for _ in {1..100}; do
        line=$(grep --text --max-count=1 --no-messages "$2" "$folder/$1") && return
        sleep 0.1
    done
    expect "a line of the $1" "$2" "$(tail -n 1 "$folder/$1")"
}

expect() { # WHAT EXPECTED SEEN
    if [[ $3 != "$2" ]]; then
        printf 'curl.sh: %s: expected "%s", saw "%s"\n' "$@" | cat -v >&2
        exit 1
    fi
}

clean_up() {
    kill $(jobs -pr)
    wait
    rm -r "$folder"
} 2>/dev/null

program=$1
folder=$(mktemp -d)
trap clean_up EXIT
trap '' PIPE
main
