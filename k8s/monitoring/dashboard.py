#!/usr/bin/python3
"""Writes dashboard.json, the Grafana dashboard of overlayd, from the panels below: dashboard.py > dashboard.json

A panel says what it shows, and its description when to worry. Queries have SELECT where the variables' selector goes;
it is put into every braces that a metric has.
"""
import json
import sys

SELECT = 'namespace=~"$namespace",pod=~"$pod",instance=~"$instance"'
WINDOW = "$__rate_interval"
WHO = "{{pod}} {{instance}}"
WIDTH = 24
STAT_WIDTH, STAT_HEIGHT = 4, 4
GRAPH_WIDTH, GRAPH_HEIGHT = 8, 8


def fill(query):
    return query.replace("SELECT", SELECT).replace("WINDOW", WINDOW)


def rate(metric, labels="", by=""):
    inner = f"rate({metric}{{{labels + ',' if labels else ''}SELECT}}[WINDOW])"
    return f"sum by (namespace, pod, instance, {by}) ({inner})" if by else inner


def quantile(part, metric):
    return f"histogram_quantile({part}, rate({metric}_bucket{{SELECT}}[WINDOW]))"


def stat(title, query, unit, description, steps, legend=WHO):
    """`steps`: (colour, from) pairs, the first from None."""
    return {"kind": "stat", "title": title, "targets": [(query, legend)], "unit": unit,
            "description": description, "steps": steps}


def graph(title, unit, description, *targets, steps=None):
    return {"kind": "timeseries", "title": title, "targets": list(targets), "unit": unit,
            "description": description, "steps": steps}


def latency(title, metric, description, worry_s):
    return graph(title, "s", description, (quantile(0.5, metric), f"median {WHO}"),
                 (quantile(0.99, metric), f"p99 {WHO}"), steps=[("green", None), ("orange", worry_s)])


def zero_is_good(title, unit, description, *targets):
    return graph(title, unit, description, *targets, steps=[("green", None), ("red", 0.001)])


ROWS = [
    ("Overview", [
        stat("Core attached", "overlay_core_attached_count{SELECT}", "none",
             "1: a core is attached. Worry at 0: the validator takes no part in consensus.",
             [("red", None), ("green", 1)]),
        stat("Ready", "overlay_core_ready_count{SELECT}", "none",
             "1: as /readyz says it. Worry at 0 for more than a minute: overlayctl status says what is missing.",
             [("red", None), ("green", 1)]),
        stat("Peers connected", "overlay_peers_connected_count{SELECT}", "none",
             "Peers connected. Worry at 0, and when it has halved.", [("red", None), ("orange", 1), ("green", 3)]),
        stat("Newest closed ledger", "overlay_scp_newest_closed_slot{SELECT}", "none",
             "As the core said. Worry when it stands still, or is behind that of the other validators.",
             [("blue", None)]),
        stat("Last envelope", "overlay_scp_last_received_age_seconds{SELECT}", "s",
             "Age of the newest SCP envelope of any peer; -1: none yet. Worry above 30 s with peers.",
             [("orange", None), ("green", 0), ("orange", 10), ("red", 30)]),
        stat("Our clock", "overlay_clock_median_offset_seconds{SELECT}", "s",
             "The median of the peers' wall clocks minus ours. Worry beyond a second either way: close times follow it.",
             [("red", None), ("orange", -1), ("green", -0.5), ("orange", 0.5), ("red", 1)]),
        stat("Envelope to a peer, p99", "instance:overlay_scp_hop_seconds:p99_rate5m{SELECT}", "s",
             "From the core's broadcast to the peer's acknowledgement, over 5 minutes. Worry above a second.",
             [("green", None), ("orange", 0.5), ("red", 1)]),
        stat("Uptime", "overlay_process_uptime_seconds{SELECT}", "s",
             "Since the daemon was ready. Worry when it begins anew by itself.", [("orange", None), ("green", 600)]),
        stat("Version", "overlay_process_info{SELECT}", "none",
             "Daemons by version. Worry when a roll-out leaves some behind.", [("blue", None)],
             legend="{{version}} " + WHO),
        stat("Memory pressed", "overlay_memory_pressed_count{SELECT}", "none",
             "1 while memory.max is used up. Worry at 1: transactions and sets are refused.",
             [("green", None), ("red", 1)]),
        stat("Bytes a second", "instance:overlay_wire_bytes:rate5m{SELECT}", "Bps",
             "UDP payload in both directions, over 5 minutes. Worry near what the link carries.", [("blue", None)]),
        stat("Own mistakes", "overlay_process_bugs_total{SELECT}", "none",
             "Mistakes of the daemon that it survived. Worry at 1: it is worth a report.",
             [("green", None), ("red", 1)]),
    ]),
    ("SCP", [
        latency("Envelope to a peer and back", "overlay_scp_hop_seconds",
                "A copy queued for a peer, to its acknowledgement. Worry when p99 leaves twice the round trips behind.", 1),
        latency("Core to wire", "overlay_scp_core_to_wire_seconds",
                "A copy queued for a peer, to its last byte in a packet. Worry above 100 ms: it waits in this daemon.",
                0.1),
        latency("Wire to core", "overlay_scp_wire_to_core_seconds",
                "An envelope's last datagram read, to its write to the core. Worry above 100 ms.", 0.1),
        graph("Envelopes from peers", "ops",
              "By what became of them. Duplicates are usual, at most one from each peer. Worry about malformed and "
              "over_limit.", (rate("overlay_scp_received_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Share of duplicates", "percentunit",
              "Of the envelopes from peers, over 5 minutes: near (peers - 1) / peers. Worry when it falls to 0: one "
              "peer carries all.", ("instance:overlay_scp_duplicates:ratio_rate5m{SELECT}", WHO)),
        graph("To and from the core", "ops",
              "Envelopes delivered to the core, and broadcast by it. Worry when it broadcasts and nothing is delivered.",
              (rate("overlay_scp_delivered_total"), f"delivered {WHO}"),
              (rate("overlay_scp_broadcast_total"), f"broadcast {WHO}")),
        graph("Copies for peers", "ops",
              "By what became of them: superseded ones wait for slow peers, dropped ones were over a limit. Worry about "
              "dropped.", (rate("overlay_scp_copies_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Wait for the core to read", "short",
              "Envelopes in the queue of the core. Worry above 1,000: it does not read while it applies ledgers.",
              ("overlay_scp_core_queue_count{SELECT}", WHO), steps=[("green", None), ("orange", 1000)]),
        graph("Kept", "short", "Envelopes kept for a core that attaches and for peers. Worry if it only grows.",
              ("overlay_scp_kept_envelopes_count{SELECT}", f"envelopes {WHO}"),
              ("overlay_scp_seen_hashes_count{SELECT}", f"hashes {WHO}")),
        graph("Ledger", "none", "Newest closed slot of each. Worry about the line that lies below the others, or is flat.",
              ("overlay_scp_newest_closed_slot{SELECT}", WHO),
              ("namespace:overlay_scp_newest_closed_slot:max", "highest {{namespace}}")),
        zero_is_good("Lost between peers and core", "ops",
                     "Messages dropped at a limit, as the core was told. Worry about any.",
                     (rate("overlay_core_overflow_total", by="queue"), "{{queue}} " + WHO)),
        graph("State asked by peers", "ops",
              "Requests for the envelopes kept; one per new connection is usual. Worry about many refused.",
              (rate("overlay_scp_state_requests_total", by="outcome"), "{{outcome}} " + WHO)),
    ]),
    ("Transactions", [
        graph("Transactions in and out", "ops", "Submitted by the core, new from peers, and served to them. Worry when "
              "one stops while the others go on.",
              (rate("overlay_tx_submitted_total"), f"submitted {WHO}"),
              (rate("overlay_tx_received_total", 'outcome="new"'), f"received {WHO}"),
              (rate("overlay_tx_served_total", 'outcome="body"'), f"served {WHO}")),
        latency("Demand to body", "overlay_tx_pull_seconds",
                "How long a demanded transaction takes. Worry when p99 comes near the time-out of a second.", 1),
        graph("Demands that failed", "ops",
              "By reason; not_found is usual after a close. Worry when time-outs are above a tenth of the demands.",
              (rate("overlay_tx_demands_failed_total", by="reason"), "{{reason}} " + WHO)),
        graph("Announcements", "ops", "Hashes times peers. Worry when in stops with peers connected.",
              (rate("overlay_tx_announcements_total", by="direction"), "{{direction}} " + WHO)),
        graph("Mempool and pending", "short", "Transactions held, and those of them without a verdict. Worry when pending goes to "
              "10,000: no more are demanded.",
              ("overlay_mempool_transactions_count{SELECT}", f"all {WHO}"),
              ("overlay_mempool_pending_count{SELECT}", f"pending {WHO}"), steps=[("green", None), ("orange", 80000)]),
        graph("Left the mempool", "ops", "By reason. Worry about evicted (full) and expired (never included).",
              (rate("overlay_mempool_removed_total", by="reason"), "{{reason}} " + WHO)),
        graph("Verdicts of the core", "ops", "Worry about malformed: peers send what no core should have let through.",
              (rate("overlay_tx_verdicts_total", by="verdict"), "{{verdict}} " + WHO)),
        graph("Demands timed out", "percentunit", "Share of all demands over 5 minutes. Worry above a tenth.",
              ("instance:overlay_tx_demand_timeouts:ratio_rate5m{SELECT}", WHO),
              steps=[("green", None), ("orange", 0.1)]),
        graph("Bytes of bodies", "Bps", "All, and those that came twice. Worry when duplicate is a large part.",
              (rate("overlay_tx_received_bytes_total", by="outcome"), "{{outcome}} " + WHO)),
    ]),
    ("Sets", [
        latency("Fetch for the core", "overlay_sets_fetch_seconds",
                "A fetch that the core asked for, to the complete set. Worry above 2 s: the ledger waits for it.", 2),
        graph("Fetches ended", "ops", "By outcome. Worry about failed and wrong_hash.",
              (rate("overlay_sets_fetched_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Sets served", "ops", "Worry about many not_found: peers ask for what we announced and lost.",
              (rate("overlay_sets_served_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Second sources", "ops",
              "A further source asked, after a failure or beside one that is slow. Worry when it comes near the fetches.",
              (rate("overlay_sets_next_source_total"), f"next {WHO}"),
              (rate("overlay_sets_hedged_total", by="reason"), "beside: {{reason}} " + WHO)),
        graph("Cached", "short", "Transaction sets and quorum sets. Worry when none is cached with a core attached.",
              ("overlay_sets_cached_count{SELECT}", f"transaction sets {WHO}"),
              ("overlay_sets_quorum_sets_count{SELECT}", f"quorum sets {WHO}")),
        graph("Bytes of sets from peers", "Bps", "Worry when duplicate is a large part.",
              (rate("overlay_sets_received_bytes_total", by="outcome"), "{{outcome}} " + WHO)),
    ]),
    ("Peers", [
        graph("All and inbound", "short", "All, and those that dialled us. Worry at none inbound: is the port reachable?",
              ("overlay_peers_connected_count{SELECT}", f"all {WHO}"),
              ("overlay_peers_inbound_count{SELECT}", f"inbound {WHO}"),
              steps=[("red", None), ("green", 1)]),
        graph("Came and went", "ops", "Logical peers. Worry when they come and go all the time.",
              (rate("overlay_peers_established_total"), f"connected {WHO}"),
              (rate("overlay_peers_ended_total"), f"ended {WHO}")),
        graph("Dials", "ops", "Begun, and failed. Worry when all fail: firewall, names, or everybody is full.",
              (rate("overlay_peers_dials_total"), f"begun {WHO}"),
              (rate("overlay_peers_dials_failed_total"), f"failed {WHO}")),
        graph("Clocks", "s", "Peers' clocks minus ours: the median (worry beyond a second: ours is off), and the one "
              "farthest away (worry beyond 10 s, and tell its operator).",
              ("overlay_clock_median_offset_seconds{SELECT}", f"median {WHO}"),
              ("overlay_clock_largest_offset_seconds{SELECT}", f"largest {WHO}")),
        graph("Clocks measured", "short", "Peers that answered a Ping. Worry when it stays below the peers.",
              ("overlay_clock_peers_measured_count{SELECT}", WHO)),
        zero_is_good("Offences", "ops", "Breaches of the protocol by kind. Worry about any that goes on.",
                     (rate("overlay_peers_offences_total", by="kind"), "{{kind}} " + WHO)),
        graph("Handshakes of others", "ops", "Worry about evicted and queue_full: somebody floods the port.",
              (rate("overlay_quic_handshakes_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Bans", "short", "Keys banned now. Worry when a ban is made that you do not know of.",
              ("overlay_peers_banned_count{SELECT}", WHO)),
        graph("Names", "short", "Names of configured peers by state. Worry about failed.",
              ("overlay_dns_names_count{SELECT}", "{{state}} " + WHO)),
        graph("Bytes by class", "Bps", "Streams' bytes. Worry when sets or transactions fill the link.",
              (rate("overlay_wire_class_bytes_total", by="class, direction"), "{{class}} {{direction}} " + WHO)),
        graph("Datagrams", "pps", "Worry when one direction stops.",
              (rate("overlay_wire_datagrams_total", by="direction"), "{{direction}} " + WHO)),
        graph("What the kernel did not send", "ops",
              "By reason. blocked and no_buffers are tried again; worry about forbidden (firewall) and other.",
              (rate("overlay_wire_send_errors_total", by="reason"), "{{reason}} " + WHO)),
    ]),
    ("Core", [
        graph("Messages of the core's streams", "ops", "Worry when down goes on and up has stopped: the core hangs.",
              (rate("overlay_core_messages_total", by="stream, direction"), "{{stream}} {{direction}} " + WHO)),
        graph("Bytes of the core's streams", "Bps", "Worry when it nears what the core's machine carries.",
              (rate("overlay_core_bytes_total", by="stream, direction"), "{{stream}} {{direction}} " + WHO)),
        graph("Sessions begun", "ops", "Worry when cores attach again and again.",
              (rate("overlay_core_sessions_total"), WHO)),
        zero_is_good("Sessions ended", "ops", "By reason. Worry about unresponsive: the core hung for 15 s.",
                     (rate("overlay_core_sessions_ended_total", by="reason"), "{{reason}} " + WHO)),
        zero_is_good("Refused", "ops", "What a core was refused. Worry about busy: two cores fight for the daemon.",
                     (rate("overlay_core_refusals_total", by="reason"), "{{reason}} " + WHO)),
        graph("Calls and connections", "short", "Worry when it only grows: a client leaks connections.",
              ("overlay_core_calls_count{SELECT}", f"calls {WHO}"),
              ("overlay_core_connections_count{SELECT}", f"connections {WHO}"),
              ("overlay_core_observers_count{SELECT}", f"observers {WHO}")),
    ]),
    ("Process", [
        latency("Turn of the loop", "overlay_loop_turn_seconds",
                "What an envelope may have to wait. Worry when p99 is above 10 ms.", 0.01),
        latency("Of that, not for SCP", "overlay_loop_turn_other_seconds",
                "Worry above 10 ms: throttled processor, slow disk of the log, or a flood.", 0.01),
        graph("Turns", "ops", "Turns of the loop. Worry at 0: it hangs.", (rate("overlay_loop_turns_total"), WHO)),
        graph("Resident memory", "bytes", "Worry when it grows beyond memory.max and some 300 MB.",
              ("overlay_process_resident_bytes{SELECT}", WHO)),
        graph("Payloads held", "bytes", "By pool, and the room of those other than SCP's. Worry when together they come near it.",
              ("overlay_memory_bytes{SELECT}", "{{pool}} " + WHO),
              ("overlay_memory_room_bytes{SELECT}", f"room {WHO}")),
        zero_is_good("Let go for memory", "ops", "Things of a pool that had to go. Worry about any.",
                     (rate("overlay_memory_freed_total", by="pool"), "{{pool}} " + WHO)),
        graph("Descriptors in use", "percentunit", "Of the limit. Worry above 80 %.",
              ("instance:overlay_process_descriptors:ratio{SELECT}", WHO),
              steps=[("green", None), ("orange", 0.8)]),
        graph("Work for the worker thread", "ops",
              "Hashes, compression, signatures. Worry about refused: too much was ahead.",
              (rate("overlay_compute_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Writes of the peer file", "ops", "Worry about failed: what is known of peers would be lost.",
              (rate("overlay_state_writes_total", by="outcome"), "{{outcome}} " + WHO)),
        zero_is_good("Log lines lost", "ops", "Worry about any: who reads the log has stopped.",
                     (rate("overlay_log_lost_total"), WHO)),
    ]),
    ("HTTP/3 window", [
        graph("Answers of the window", "ops", "Requests by class of the status. Worry about 5xx: it has too much to do.",
              (rate("overlay_http3_answers_total", by="status"), "{{status}} " + WHO)),
        graph("Turned away", "ops",
              "By reason. not_found is usual for sets that have left the cache. Worry about rate, busy and memory: raise "
              "its limits, or find who asks so much.",
              (rate("overlay_http3_refusals_total", by="reason"), "{{reason}} " + WHO)),
        graph("Readers", "short", "Connections to the window. Worry when it stays at http3.connections_max.",
              ("overlay_http3_connections_count{SELECT}", WHO)),
        graph("Readers that came", "ops", "By what became of them. Worry about refused, displaced and stalled.",
              (rate("overlay_http3_connections_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Handshakes of readers", "ops", "Worry about evicted: somebody floods the port.",
              (rate("overlay_http3_handshakes_total", by="outcome"), "{{outcome}} " + WHO)),
        graph("Bytes of the window", "Bps", "Worry near what the link carries: peers share it.",
              (rate("overlay_http3_wire_bytes_total", by="direction"), "{{direction}} " + WHO)),
        graph("Answers being sent", "bytes", "Worry when it stays high: readers that do not read.",
              ("overlay_http3_bodies_bytes{SELECT}", WHO)),
        graph("Datagrams of readers", "pps", "Worry when unroutable comes near all: a scan, or a flood.",
              (rate("overlay_http3_datagrams_total", by="kind"), "{{kind}} " + WHO)),
    ]),
]


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": {"type": "prometheus", "uid": "$datasource"},
            "query": {"query": query, "refId": name}, "refresh": 2, "multi": True, "includeAll": True,
            "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "sort": 1}


def panel_json(number, panel, place):
    is_stat = panel["kind"] == "stat"
    steps = [{"color": colour, "value": at} for colour, at in panel["steps"] or [("green", None)]]
    shown = {"unit": panel["unit"], "thresholds": {"mode": "absolute", "steps": steps},
             "color": {"mode": "thresholds" if is_stat else "palette-classic"}}
    if not is_stat:
        shown["custom"] = {"lineWidth": 1, "fillOpacity": 5, "showPoints": "never",
                           "thresholdsStyle": {"mode": "line" if panel["steps"] else "off"}}
    options = ({"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "auto"} if is_stat
               else {"legend": {"displayMode": "list", "placement": "bottom"},
                     "tooltip": {"mode": "multi", "sort": "desc"}})
    return {"id": number, "type": panel["kind"], "title": panel["title"], "description": panel["description"],
            "datasource": {"type": "prometheus", "uid": "$datasource"}, "gridPos": place,
            "fieldConfig": {"defaults": shown, "overrides": []}, "options": options,
            "targets": [{"refId": chr(ord("A") + i), "expr": fill(query), "legendFormat": legend,
                         "datasource": {"type": "prometheus", "uid": "$datasource"}}
                        for i, (query, legend) in enumerate(panel["targets"])]}


def dashboard():
    panels, number, y = [], 0, 0
    for title, row in ROWS:
        number += 1
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        y, x, height = y + 1, 0, 0
        for panel in row:
            number += 1
            wide, height = ((STAT_WIDTH, STAT_HEIGHT) if panel["kind"] == "stat" else (GRAPH_WIDTH, GRAPH_HEIGHT))
            if x + wide > WIDTH:
                x, y = 0, y + height
            panels.append(panel_json(number, panel, {"x": x, "y": y, "w": wide, "h": height}))
            x += wide
        y += height
    select = "overlay_process_info"
    return {
        "uid": "overlayd", "title": "overlayd", "tags": ["overlay"], "schemaVersion": 37, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
             "current": {}},
            variable("namespace", "Namespace", f"label_values({select}, namespace)"),
            variable("pod", "Pod", f'label_values({select}{{namespace=~"$namespace"}}, pod)'),
            variable("instance", "Instance",
                     f'label_values({select}{{namespace=~"$namespace",pod=~"$pod"}}, instance)'),
        ]},
        "annotations": {"list": []}, "panels": panels,
    }


def text():
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
