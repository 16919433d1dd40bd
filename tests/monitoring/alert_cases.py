"""For each alert series on which it fires, and the like on which it does not.

Series are in promtool's notation, a sample each 15 s, with the labels of one daemon. `at` is when it has fired; it must
not have been firing at `not_yet`, a sample before its `for` is over.
"""
from dataclasses import dataclass

LABELS = 'job="n/overlayd",namespace="n",pod="p-0",instance="a"'


@dataclass
class Case:
    fires: dict
    quiet: dict
    at: str
    not_yet: str = ""


def histogram(name, slow_le, step):
    """`step` observations a sample, all in the bucket up to `slow_le`."""
    buckets = ("0.000128", "0.001024", "0.032768", "0.131072", "0.524288", "2.097152", "4.194304", "16.777216")
    out = {}
    for le in (*buckets, "+Inf"):
        rises = le == "+Inf" or float(le) >= float(slow_le)
        out[f'{name}_bucket{{le="{le}"}}'] = f"0+{step}x100" if rises else "0x100"
    return out


def counter(name, rises, before="0x20"):
    """Nothing for five minutes, then `rises` each 15 s; and the same with nothing."""
    return Case({name: f"{before} {rises}+{rises}x100"}, {name: "7x120"}, "6m")


CASES = {
    "OverlayDown": Case({"up": "1 0x20", "overlay_process_info": "1"},
                         {"up": "0x20", 'overlay_process_info{instance="b"}': "1x20"}, "1m15s", "1m"),
    "OverlayRestarting": Case({"overlay_process_uptime_seconds": "0 15 30 0 15 0 15 30 45 0 15 30"},
                              {"overlay_process_uptime_seconds": "0 15 30 0 15 0 15 30 45 60 75 90"}, "2m45s"),
    "OverlayCoreDetached": Case({"overlay_core_attached_count": "0x20"}, {"overlay_core_attached_count": "1x20"},
                                "1m", "45s"),
    "OverlayNoPeers": Case({"overlay_peers_connected_count": "0x20"}, {"overlay_peers_connected_count": "1x20"},
                           "1m", "45s"),
    "OverlayPeersLost": Case({"overlay_peers_connected_count": "9 4x40"}, {"overlay_peers_connected_count": "9 5x40"},
                             "5m15s", "5m"),
    "OverlayScpSilent": Case(
        {"overlay_scp_last_received_age_seconds": "31+15x20", "overlay_peers_connected_count": "1x20",
         "overlay_process_uptime_seconds": "60+15x20"},
        {"overlay_scp_last_received_age_seconds": "30x20", "overlay_peers_connected_count": "1x20",
         "overlay_process_uptime_seconds": "600+15x20"}, "30s", "15s"),
    "OverlayLedgerStuck": Case(
        {"overlay_scp_newest_closed_slot": "5x40", "overlay_core_attached_count": "1x40"},
        {"overlay_scp_newest_closed_slot": "5+3x40", "overlay_core_attached_count": "1x40"}, "1m", "45s"),
    "OverlayLedgerBehind": Case(
        {"overlay_scp_newest_closed_slot": "5+3x40", 'overlay_scp_newest_closed_slot{instance="b"}': "16+3x40"},
        {"overlay_scp_newest_closed_slot": "6+3x40", 'overlay_scp_newest_closed_slot{instance="b"}': "16+3x40"},
        "2m15s", "1m45s"),
    "OverlayClockOff": Case(
        {"overlay_clock_median_offset_seconds": "-1.1x20", "overlay_clock_peers_measured_count": "3x20"},
        {"overlay_clock_median_offset_seconds": "9x20", "overlay_clock_peers_measured_count": "1x20"}, "1m", "45s"),
    "OverlayPeerClockOff": Case({"overlay_clock_largest_offset_seconds": "11x80"},
                                {"overlay_clock_largest_offset_seconds": "9x80"}, "10m", "9m45s"),
    "OverlayScpSlow": Case(histogram("overlay_scp_hop_seconds", "2.097152", 5),
                           histogram("overlay_scp_hop_seconds", "0.524288", 5), "6m", "4m"),
    "OverlayScpWaits": Case(histogram("overlay_scp_wire_to_core_seconds", "0.524288", 5),
                            histogram("overlay_scp_wire_to_core_seconds", "0.001024", 5), "6m", "4m"),
    "OverlayLoopSlow": Case(histogram("overlay_loop_turn_other_seconds", "0.032768", 50),
                            histogram("overlay_loop_turn_other_seconds", "0.001024", 50), "6m", "4m"),
    "OverlaySetFetchSlow": Case(histogram("overlay_sets_fetch_seconds", "4.194304", 2),
                                histogram("overlay_sets_fetch_seconds", "0.524288", 2), "6m", "4m"),
    "OverlaySetFetchesFail": Case(
        {'overlay_sets_fetched_total{outcome="failed"}': "0x20 5x40", 'overlay_sets_fetched_total{outcome="complete"}': "0+9x60"},
        {'overlay_sets_fetched_total{outcome="failed"}': "0x20 2x40", 'overlay_sets_fetched_total{outcome="complete"}': "0+9x60"},
        "7m"),
    "OverlayTxDemandsTimeOut": Case(
        {'overlay_tx_demands_failed_total{reason="timeout"}': "0+2x80", "overlay_tx_demanded_total": "0+10x80"},
        {'overlay_tx_demands_failed_total{reason="timeout"}': "0+1x80",
         'overlay_tx_demands_failed_total{reason="not_found"}': "0+9x80", "overlay_tx_demanded_total": "0+11x80"},
        "11m", "10m"),
    "OverlayCoreBehind": Case({"overlay_scp_core_queue_count": "1001x20"}, {"overlay_scp_core_queue_count": "1000x20"},
                              "1m", "45s"),
    "OverlayCoreOverflow": counter('overlay_core_overflow_total{queue="scp_to_core"}', 1),
    "OverlayMempoolUnjudged": Case({"overlay_mempool_pending_count": "5001x20"},
                                   {"overlay_mempool_pending_count": "5000x20"}, "2m", "1m45s"),
    "OverlayMempoolFull": Case(
        {'overlay_mempool_removed_total{reason="evicted"}': "0+3x100"},
        {'overlay_mempool_removed_total{reason="evicted"}': "3x100",
         'overlay_mempool_removed_total{reason="externalized"}': "0+3x100"}, "16m", "15m"),
    "OverlayMemoryPressed": Case({"overlay_memory_pressed_count": "0x10", "overlay_memory_pressures_total": "0x5 1x9"},
                                 {"overlay_memory_pressed_count": "0x10", "overlay_memory_pressures_total": "1x10"},
                                 "2m"),
    "OverlayDescriptorsScarce": Case(
        {'overlay_process_descriptors_count{what="open"}': "81x40", 'overlay_process_descriptors_count{what="limit"}': "100x40"},
        {'overlay_process_descriptors_count{what="open"}': "80x40", 'overlay_process_descriptors_count{what="limit"}': "100x40"},
        "5m15s", "4m45s"),
    "OverlaySendErrors": Case(
        {'overlay_wire_send_errors_total{reason="forbidden"}': "0+1x40"},
        {'overlay_wire_send_errors_total{reason="forbidden"}': "9x40",
         'overlay_wire_send_errors_total{reason="blocked"}': "0+1x40"}, "5m30s", "4m45s"),
    "OverlayPeerFileNotWritten": counter('overlay_state_writes_total{outcome="failed"}', 1),
    "OverlayLogLost": counter("overlay_log_lost_total", 5),
    "OverlayNamesFail": Case({'overlay_dns_names_count{state="failed"}': "1x40"},
                             {'overlay_dns_names_count{state="failed"}': "0x40",
                              'overlay_dns_names_count{state="ok"}': "1x40"}, "5m", "4m45s"),
    "OverlayKeyShared": counter("overlay_peers_keys_shared_total", 1),
    "OverlayHandshakeFlood": Case(
        {'overlay_quic_handshakes_total{outcome="evicted"}': "0+10x60",
         'overlay_quic_handshakes_total{outcome="queue_full"}': "0+10x60"},
        {'overlay_quic_handshakes_total{outcome="evicted"}': "0+10x60",
         'overlay_quic_handshakes_total{outcome="begun"}': "0+900x60"}, "9m", "4m45s"),
    "OverlayOffences": Case(
        {'overlay_peers_offences_total{kind="x"}': "0+10x60", 'overlay_peers_offences_total{kind="y"}': "0+10x60"},
        {'overlay_peers_offences_total{kind="x"}': "0+10x60", 'overlay_peers_offences_total{kind="y"}': "0x60"},
        "9m", "4m45s"),
    "OverlayBug": counter("overlay_process_bugs_total", 1),
    "OverlayNotReady": Case(
        {"overlay_core_ready_count": "0x40", "overlay_core_attached_count": "1x40",
         "overlay_peers_connected_count": "2x40"},
        {"overlay_core_ready_count": "1x40", "overlay_core_attached_count": "1x40",
         "overlay_peers_connected_count": "2x40"}, "5m", "4m45s"),
    "OverlayWindowOverloaded": Case(
        {'overlay_http3_refusals_total{reason="rate"}': "0+10x80",
         'overlay_http3_refusals_total{reason="busy"}': "0+10x80"},
        {'overlay_http3_refusals_total{reason="rate"}': "0+10x80",
         'overlay_http3_refusals_total{reason="not_found"}': "0+900x80"}, "14m", "9m45s"),
}


def labelled(series):
    """With the labels of the one daemon, where it does not say others."""
    name, _, own = series.partition("{")
    own = own.rstrip("}")
    given = {label.split("=")[0] for label in own.split(",")}
    more = [label for label in LABELS.split(",") if label.split("=")[0] not in given]
    return f"{name}{{{','.join([own, *more] if own else more)}}}"


def promtool_tests():
    """The cases in the form that `promtool test rules` reads (JSON is YAML)."""
    tests = []

    def firing(alert, at, count):
        expression = f'count by (alertname) (ALERTS{{alertstate="firing",alertname="{alert}"}})'
        samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if count else []
        return {"expr": expression, "eval_time": at, "exp_samples": samples}

    def add(name, series, checks):
        tests.append({"name": name, "interval": "15s", "promql_expr_test": checks,
                      "input_series": [{"series": labelled(s), "values": values} for s, values in series.items()]})

    for alert, case in CASES.items():
        early = [firing(alert, case.not_yet, 0)] if case.not_yet else []
        add(f"{alert} fires", case.fires, [*early, firing(alert, case.at, 1)])
        add(f"{alert} is quiet", case.quiet, [firing(alert, case.at, 0)])
    return {"rule_files": ["rules.yaml"], "group_eval_order": ["overlay.recording", "overlay.alerts"],
            "evaluation_interval": "15s", "tests": tests}
