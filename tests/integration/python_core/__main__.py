"""A core by hand: attaches to a daemon and says what comes, until Enter or the end of the session.

usage: python3 -m python_core ADDRESS PASSPHRASE [--takeover] [--observer] [--relay]
                              [--offer FILE | --fetch HASH FILE] [--slot N]
"""

import argparse
import sys
import threading

from . import Core, Ended, FetchFailed, Refused


def arguments():
    parser = argparse.ArgumentParser(prog="python_core", description=__doc__.split("\n")[0])
    parser.add_argument("address", help="unix:/run/overlayd/core.sock, or IP:PORT")
    parser.add_argument("passphrase", help="of the network")
    parser.add_argument("--takeover", action="store_true", help="end the session of a core that is attached")
    parser.add_argument("--observer", action="store_true", help="only look")
    parser.add_argument("--relay", action="store_true", help="broadcast each envelope, as a core must")
    parser.add_argument("--slot", type=int, help="that the set belongs to")
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument("--offer", metavar="FILE", help="a tx set to serve to peers")
    sets.add_argument("--fetch", nargs=2, metavar=("HASH", "FILE"), help="a tx set to get from peers")
    return parser.parse_args()


def follow(reader, show, *kinds):
    """Shows what comes, on a thread of its own, to the end of the call."""
    def run():
        try:
            while True:
                try:
                    show(*reader.take_any(*kinds, timeout=threading.TIMEOUT_MAX))
                except Refused as refused:
                    print("refused:", refused)
        except Ended as ended:
            print(ended)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def main():
    asked = arguments()
    try:
        core = Core(asked.address, asked.passphrase, takeover=asked.takeover, observer=asked.observer,
                    deliver_transactions=True)
    except Ended as ended:
        sys.exit(str(ended))
    print("attached to", core.attached.node_strkey, "as session", core.session)

    def show_event(kind, event):
        print(kind, " ".join(str(event).split()))

    def show_scp(kind, message):
        if kind != "received":
            return show_event(kind, message)
        print("envelope", message.slot, message.hash.hex(), len(message.envelope), "bytes")
        if asked.relay:  # a real core looks at the signature first
            core.scp.broadcast(message.envelope)

    def show_transactions(_, message):
        for one in message.transactions:
            print("transaction", one.hash.hex(), len(one.transaction), "bytes")

    attach = follow(core.events, show_event, "connected", "disconnected", "draining", "detached", "lost")
    follow(core.scp, show_scp, "received", "state_done", "state_wanted", "overflow")
    follow(core.transactions, show_transactions, "received")
    try:
        if asked.offer:
            with open(asked.offer, "rb") as file:
                print("offering", core.tx_sets.offer(file.read(), slot=asked.slot).hex())
            core.tx_sets.take("offered")
            print("offered: peers can have it now")
        if asked.fetch:
            core.tx_sets.fetch(bytes.fromhex(asked.fetch[0]), slot=asked.slot)
            with open(asked.fetch[1], "wb") as file:
                file.write(core.tx_sets.take_set(timeout=threading.TIMEOUT_MAX)[1])
            print("fetched into", asked.fetch[1])
    except (Ended, Refused, FetchFailed) as why:
        print(why)
    print("press Enter to end")
    threading.Thread(target=lambda: (sys.stdin.readline(), core.close()), daemon=True).start()
    attach.join()


main()
