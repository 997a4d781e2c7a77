#!/usr/bin/env bash
# curl against the server: every refusal, the 101 for RFC 6455's sample key, and a session that is
# told 1001 on SIGTERM. Where a connection has to stay, curl passes on raw bytes (telnet://).

set -u
export LC_ALL=C

main() {
    start_server --allowed-origins https://allowed.example
    refuse_what_is_wrong
    accept_what_is_right
    drain

    start_server --allowed-origins https://allowed.example --missing-origin refuse \
        --max-connections 1
    refuse_when_full

    echo "$(curl --version | sed -n '1s/ (.*//p'): 13 refusals, 101," \
        '1001 "drained" on SIGTERM'
}

connection='-HConnection: Upgrade'
upgrade='-HUpgrade: websocket'
version='-HSec-WebSocket-Version: 13'
key='-HSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
good=("$connection" "$upgrade" "$version" "$key")
allowed='-HOrigin: https://allowed.example'

refuse_what_is_wrong() {
    refused 404 not_found "${good[@]}" --request-target /
    refused 405 method_not_allowed "${good[@]}" --request POST
    has 'allow: GET'
    refused 505 http_version "${good[@]}" --http1.0

    refused 400 bad_host "${good[@]}" -H 'Host:'
    refused 400 bad_host "${good[@]}" -H $'Another: line\r\nHost: another.example'
    refused 400 has_body "${good[@]}" --request GET --data body
    refused 400 has_body "${good[@]}" -H 'Content-Length: 5'
    refused 400 has_body "${good[@]}" -H 'Transfer-Encoding: chunked' --request GET --data body

    refused 426 not_an_upgrade
    has 'upgrade: websocket'
    has 'connection: Upgrade'
    refused 426 not_an_upgrade "$connection" "$version" "$key"
    refused 426 not_an_upgrade "$upgrade" "$version" "$key"
    refused 426 websocket_version "$connection" "$upgrade" "$key"
    refused 426 websocket_version "$connection" "$upgrade" "$key" -H 'Sec-WebSocket-Version: 8'
    has 'sec-websocket-version: 13'

    refused 400 bad_key "$connection" "$upgrade" "$version"
    refused 400 bad_key "$connection" "$upgrade" "$version" -H 'Sec-WebSocket-Key: c2hvcnQ='
    refused 400 bad_key "${good[@]}" "$key"

    refused 400 bad_origin "${good[@]}" "$allowed" "$allowed"
    refused 400 bad_origin "${good[@]}" -H 'Origin: garbage'
    refused 403 origin_refused "${good[@]}" -H 'Origin: https://other.example'
    refused 403 origin_refused "${good[@]}" -H 'Origin: null'
}

accept_what_is_right() {
    # curl waits for what comes behind the 101, and hangs up when its time is over.
    ask "${good[@]}" "$allowed" --max-time 1
    expect 'the status of the answer to a good request' 101 "$status"
    has 'upgrade: websocket'
    has 'connection: Upgrade'
    has 'sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    await log '"event":"closed".*"cause":"disconnected"'
}

drain() {
    connect session
    say_good_request session
    await session '^HTTP/1.1 101 '
    connect idle
    say idle 'GET / HTTP/1.1' 'Host: localhost' ''
    await idle '^not_found:'

    kill "$server"
    await session "$close_1001_drained"
    say_good_request idle
    await idle '^HTTP/1.1 503 '
    await idle '^retry-after: 1'
    await idle '^draining:'
    expect_clean_end session
}

refuse_when_full() {
    connect only
    say_good_request only
    await only '^HTTP/1.1 101 '
    refused 503 full "${good[@]}" "$allowed"
    has 'retry-after: 5'
    refused 403 origin_missing "${good[@]}"

    kill "$server"
    await only "$close_1001_drained"
    expect_clean_end only
}

# Starts the server on a free port. It ends when it is told to, and in any case after a while.
start_server() { # SETTING...
    : >"$folder/log"
    timeout --foreground --kill-after=5 15 \
        env -i "$program" --listen 127.0.0.1:0 --log-format json "$@" 2>"$folder/log" &
    server=$!
    await log '"event":"listening"'
    address=${line#*'"address":"'}
    address=${address%%'"'*}
}

# Answers the Close frame of the one open session, and checks that nothing is left.
expect_clean_end() { # CONNECTION
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

# Sends a request, and takes the answer apart.
ask() { # ARGUMENT...
    local answer
    answer=$("${curl[@]}" --max-time 10 --include "$@" "http://$address/ws/status")
    head=${answer%%$'\r\n\r\n'*}
    status=${head#* }
    status=${status%% *}
    word=${answer#*$'\r\n\r\n'}
    word=${word%%:*}
}

refused() { # STATUS WORD ARGUMENT...
    ask "${@:3}"
    expect "the answer to curl ${*:3}" "$1 $2" "$status $word"
}

# Checks that the answer has a header. The server writes names in small letters.
has() { # HEADER
    case "$head"$'\r\n' in
        *$'\r\n'"$1"$'\r\n'*) ;;
        *) expect "a header of the answer $status" "$1" "${head//$'\r\n'/, }" ;;
    esac
}

declare -A input

# Opens a connection that stays; what the server says there is in the file of this name.
connect() { # CONNECTION
    mkfifo "$folder/$1.in"
    # --upload-file . makes curl read and write as things come, but not with --max-time.
    timeout 15 "${curl[@]}" --no-buffer --upload-file . "telnet://$address" \
        <"$folder/$1.in" >"$folder/$1" 2>/dev/null &
    exec {fd}>"$folder/$1.in"
    input[$1]=$fd
}

say() { # CONNECTION LINE...
    printf '%s\r\n' "${@:2}" >&"${input[$1]}"
}

say_good_request() { # CONNECTION
    say "$1" 'GET /ws/status HTTP/1.1' 'Host: localhost' "${allowed#-H}" "${good[@]#-H}" ''
}

close_1001_drained=$'\x88\x09\x03\xe9drained'

# Waits for a line of a file.
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
