vcl 4.1;
# web-cache: function web-cache, version v2, generation 2. Written by Clover.

import directors;
import std;

backend b0 {
    .host = "clover-server1";
    .port = "9180";
    .connect_timeout = 5s;
    .first_byte_timeout = 60s;
    .between_bytes_timeout = 60s;
}
backend b1 {
    .host = "clover-server2";
    .port = "81";
    .connect_timeout = 5s;
    .first_byte_timeout = 60s;
    .between_bytes_timeout = 60s;
}

sub vcl_init {
    # A backend's turns are spread over the round: weights 3 and 1 are a a b a.
    new next = directors.round_robin();
    next.add_backend(b0);
    next.add_backend(b0);
    next.add_backend(b1);
    next.add_backend(b0);
    # The same backends by another name, so that the backend side of a request knows what it is for.
    new refresh = directors.round_robin();
    refresh.add_backend(next.backend());
    # Whom to ask when a backend gave no answer: weights would lead to the same one again.
    new other = directors.round_robin();
    other.add_backend(b0);
    other.add_backend(b1);
    return (ok);
}

# Request headers that begin with X-Clover- are this file's notes; they come from nobody else and go nowhere.
#   X-Clover-Cache      what the cache did, for the answer and the log
#   X-Clover-Expired    ask: the answer that is here is too old, a fresh one is asked for
#                       serve: there was none to be had, the old one is good enough
sub vcl_recv {
    if (req.restarts == 0) {
        unset req.http.X-Clover-Expired;
        unset req.http.X-Clover-Upstream;
        unset req.http.X-Clover-Upstream-Status;
    }
    unset req.http.X-Clover-Cache;
    std.log("generation:2");
    # The gateway appends the client, and each function its peer: its sidecar, 127.0.0.6.
    if (req.http.X-Forwarded-For ~ "^(?:.*[,\s])?(?!127\.0\.0\.6\s*(?:,|$))([0-9A-Fa-f.:]+)(?:[,\s]+127\.0\.0\.6)*\s*$") {
        std.log("client:" + regsub(req.http.X-Forwarded-For, "^(?:.*[,\s])?(?!127\.0\.0\.6\s*(?:,|$))([0-9A-Fa-f.:]+)(?:[,\s]+127\.0\.0\.6)*\s*$", "\1"));
    } else {
        std.log("client:" + client.ip);
    }
    set req.backend_hint = next.backend();

    if (!req.http.Host && req.proto == "HTTP/1.1") {
        return (synth(400));
    }
    if (req.method == "CONNECT" || req.method == "PRI") {
        return (synth(405));
    }
    # What is sent in chunks is not counted.
    if (req.http.Content-Length ~ "^0*[1-9][0-9]{8}" || std.integer(req.http.Content-Length, 0) > 10485760) {
        return (synth(413));
    }
    # Of all upgrades only WebSocket passes: h2c, passed blindly, would be a tunnel around the functions behind.
    if (req.http.Upgrade ~ "(?i)^websocket$") {
        return (pipe);
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    set req.http.X-Clover-Cache = "BYPASS";
    # What one user may see is not for others; and an answer to a body is not one to the address alone.
    if (req.http.Authorization || req.http.Transfer-Encoding || std.integer(req.http.Content-Length, 0) > 0) {
        return (pass);
    }
    # Also whatever is written in a way that a server may read as one of these paths.
    if (req.url ~ "^(/private/|/v1[.]0)" ||
        req.url ~ "^[^?]*(//|/[.]|%2[DEF]|%3[0-9]|%4[1-9A-F]|%5[0-9AF]|%6[1-9A-F]|%7[0-9AE])" ||
        req.url ~ "^[^?]*(%2[def]|%4[a-f]|%5[af]|%6[a-f]|%7[ae])") {
        return (pass);
    }
    set req.http.X-Clover-Cache = "MISS";
    if (req.http.X-Clover-Expired == "ask") {
        # Each asks for itself: to wait for another's answer, one after the other, would be endless if none comes.
        set req.hash_ignore_busy = true;
        set req.grace = 0s;
        set req.backend_hint = refresh.backend();
        set req.http.X-Clover-Cache = "EXPIRED";
    } else if (req.http.X-Clover-Expired == "serve") {
        # A restart keeps what was set.
        set req.hash_ignore_busy = false;
        set req.grace = 60.000s;
    }
    return (hash);
}

sub vcl_hash {
    hash_data(req.url);
    if (req.http.Host) {
        hash_data(req.http.Host);
    }
    return (lookup);
}

sub vcl_hit {
    if (obj.ttl > 0s) {
        set req.http.X-Clover-Cache = "HIT";
        return (deliver);
    }
    if (req.http.X-Clover-Expired == "serve") {
        set req.http.X-Clover-Cache = "STALE";
        return (deliver);
    }
    set req.http.X-Clover-Expired = "ask";
    return (restart);
}

sub vcl_pipe {
    unset bereq.http.X-Varnish;
    set bereq.http.Upgrade = "websocket";
    # `close`: what follows a refused upgrade must not pass here unread.
    set bereq.http.Connection = "upgrade, close";
    return (pipe);
}

sub vcl_backend_fetch {
    # An old answer was good enough: nobody waits for this.
    if (bereq.is_bgfetch) {
        return (abandon);
    }
    unset bereq.http.X-Clover-Cache;
    unset bereq.http.X-Clover-Expired;
    unset bereq.http.X-Clover-Upstream;
    unset bereq.http.X-Clover-Upstream-Status;
    unset bereq.http.X-Varnish;
    return (fetch);
}

sub vcl_backend_response {
    if (beresp.backend == b0) {
        set beresp.http.X-Clover-Upstream = "clover-server1:9180";
    }
    if (beresp.backend == b1) {
        set beresp.http.X-Clover-Upstream = "clover-server2:81";
    }
    set beresp.http.X-Clover-Upstream-Status = beresp.status;
    if (beresp.was_304) {
        set beresp.http.X-Clover-Upstream-Status = "304";
    }
    # For bans, which see the kept answer and not the request.
    set beresp.http.X-Clover-Host = bereq.http.Host;
    set beresp.http.X-Clover-Url = bereq.url;

    if (bereq.uncacheable) {
        return (deliver);
    }
    # The old answer is better, and would be dropped for any other.
    if (bereq.backend == refresh.backend() &&
        (beresp.status == 502 || beresp.status == 503 || beresp.status == 504)) {
        return (abandon);
    }
    # Only answers with status 200 are kept without saying so themselves.
    if (!beresp.http.Expires && beresp.http.Cache-Control !~ "(?i)max-?age") {
        set beresp.ttl = 0s;
        if (beresp.status == 200) {
            set beresp.ttl = 90.500s;
        }
    }
    if (beresp.ttl > 0s && !beresp.http.Set-Cookie && beresp.http.Vary !~ "[*]" &&
        beresp.http.Cache-Control !~ "(?i)no-cache|no-store|private") {
        set beresp.grace = 60.000s;
        if (beresp.http.Cache-Control ~ "(?i)(must|proxy)-revalidate") {
            set beresp.grace = 0s;
        }
        # Beyond its grace an answer is no longer given, but the server may still say that it has not changed.
        set beresp.keep = 600s;
        return (deliver);
    }
    call nothing_is_kept;
    return (deliver);
}

sub nothing_is_kept {
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    # Whoever asks for the same again goes to the backends at once, beside others. After an error not for long.
    set beresp.uncacheable = true;
    set beresp.ttl = 120s;
    if (beresp.status >= 500) {
        set beresp.ttl = 1s;
    }
}

sub vcl_backend_error {
    # No connection, or one that ended without an answer. To ask twice for the same does no harm with these methods.
    if (bereq.method ~ "^(GET|HEAD|OPTIONS)$" && bereq.retries < 2) {
        if (bereq.backend != refresh.backend()) {
            set bereq.backend = other.backend();
        }
        return (retry);
    }
    if (bereq.backend == refresh.backend()) {
        return (abandon);
    }
    set beresp.http.Content-Type = "text/plain";
    set beresp.body = "" + beresp.status + " " + beresp.reason + {"
"};
    if (!bereq.uncacheable) {
        call nothing_is_kept;
    }
    return (deliver);
}

sub vcl_deliver {
    if (req.http.X-Clover-Cache != "HIT" && req.http.X-Clover-Cache != "STALE") {
        set req.http.X-Clover-Upstream = resp.http.X-Clover-Upstream;
        set req.http.X-Clover-Upstream-Status = resp.http.X-Clover-Upstream-Status;
    }
    if (req.http.X-Clover-Cache == "EXPIRED" && resp.http.X-Clover-Upstream-Status == "304") {
        set req.http.X-Clover-Cache = "REVALIDATED";
    }
    unset resp.http.X-Clover-Host;
    unset resp.http.X-Clover-Url;
    unset resp.http.X-Clover-Upstream;
    unset resp.http.X-Clover-Upstream-Status;
    unset resp.http.X-Varnish;
    if (req.http.X-Clover-Cache) {
        set resp.http.X-Cache-Status = req.http.X-Clover-Cache;
    }
    std.log("upstream:" + req.http.X-Clover-Upstream);
    std.log("upstream_status:" + req.http.X-Clover-Upstream-Status);
    std.log("cache:" + req.http.X-Clover-Cache);
    return (deliver);
}

sub vcl_synth {
    if (req.http.X-Clover-Expired == "ask") {
        set req.http.X-Clover-Expired = "serve";
        return (restart);
    }
    unset resp.http.X-Varnish;
    set resp.http.Content-Type = "text/plain";
    set resp.body = "" + resp.status + " " + resp.reason + {"
"};
    return (deliver);
}
