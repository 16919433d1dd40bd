// Draws what /status, /peers and /metrics say, every two seconds. Everything that comes from peers is set as
// text, never as markup.
'use strict';

const EVERY_MS = 2000;
const KEEP = 150;            // samples: five minutes
const LATENCY_SAMPLES = 30;  // a minute of them
const PEERS_SHOWN = 200;
const PEERS_DRAWN = 64;
const NAMED_MAX = 32;        // more names would lie on each other
const SVG = 'http://www.w3.org/2000/svg';

const byId = (id) => document.getElementById(id);
const setText = (id, text) => { byId(id).textContent = text; };

// ---- figures as people read them

function count(n) {
  if (n >= 1e6) return (n / 1e6).toFixed(1) + ' M';
  if (n >= 1e4) return (n / 1e3).toFixed(1) + ' k';
  return n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1);
}

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; ++unit; }
  return (unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)) + ' ' + units[unit];
}

function time(seconds) {
  const abs = Math.abs(seconds);
  if (abs < 1e-3) return (seconds * 1e6).toFixed(0) + ' µs';
  if (abs < 1) return (seconds * 1e3).toFixed(abs < 0.1 ? 1 : 0) + ' ms';
  if (abs < 120) return seconds.toFixed(1) + ' s';
  if (abs < 7200) return (seconds / 60).toFixed(0) + ' min';
  if (abs < 172800) return (seconds / 3600).toFixed(0) + ' h';
  return (seconds / 86400).toFixed(0) + ' days';
}

const age = (ms) => ms === null ? 'none yet' : time(ms / 1000) + ' ago';
const shortKey = (key) => key === '' ? '?' : key.slice(0, 6) + '…' + key.slice(-4);

// ---- Prometheus' text format: {name: [{labels, value}]}

function parseMetrics(text) {
  const out = {};
  for (const line of text.split('\n')) {
    const match = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const label of (match[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[label[1]] = label[2];
    (out[match[1]] ||= []).push({labels, value: Number(match[3])});
  }
  return out;
}

// The sum of the samples whose labels are those of `where`.
function sum(metrics, name, where = {}) {
  let total = 0;
  for (const sample of metrics[name] || []) {
    if (Object.entries(where).every(([label, value]) => sample.labels[label] === value)) total += sample.value;
  }
  return total;
}

function histogram(metrics, name) {
  return (metrics[name + '_bucket'] || [])
      .map((s) => ({le: s.labels.le === '+Inf' ? Infinity : Number(s.labels.le), count: s.value}))
      .sort((a, b) => a.le - b.le);
}

// Of what was counted between the two; null: nothing was.
function quantile(before, now, q) {
  const added = now.map((bucket, i) => bucket.count - (before[i] ? before[i].count : 0));
  const total = added.length === 0 ? 0 : added[added.length - 1];
  if (total <= 0) return null;
  const at = added.findIndex((sofar) => sofar >= q * total);
  const below = at === 0 ? 0 : added[at - 1];
  const low = at === 0 ? 0 : now[at - 1].le;
  const high = now[at].le;
  if (high === Infinity) return low;
  return low + (high - low) * (q * total - below) / Math.max(1, added[at] - below);
}

// ---- what is drawn

const RATES = [
  {name: 'SCP envelopes', in: ['overlay_wire_class_messages_total', {class: 'scp', direction: 'in'}],
    out: ['overlay_wire_class_messages_total', {class: 'scp', direction: 'out'}], unit: count},
  {name: 'transactions', in: ['overlay_tx_received_total', {}], out: ['overlay_tx_served_total', {outcome: 'served'}], unit: count},
  {name: 'tx sets', in: ['overlay_wire_class_bytes_total', {class: 'sets', direction: 'in'}],
    out: ['overlay_wire_class_bytes_total', {class: 'sets', direction: 'out'}], unit: bytes},
  {name: 'network', in: ['overlay_wire_bytes_total', {direction: 'in'}],
    out: ['overlay_wire_bytes_total', {direction: 'out'}], unit: bytes},
];

const LATENCIES = [
  {name: 'SCP', what: 'core to wire', metric: 'overlay_scp_core_to_wire_seconds'},
  {name: 'SCP', what: 'wire to core', metric: 'overlay_scp_wire_to_core_seconds'},
  {name: 'SCP', what: 'hop, acknowledged', metric: 'overlay_scp_hop_seconds'},
  {name: 'transactions', what: 'demand to body', metric: 'overlay_tx_pull_seconds'},
  {name: 'tx sets', what: 'fetch to whole set', metric: 'overlay_sets_fetch_seconds'},
  {name: 'loop', what: 'work of a turn', metric: 'overlay_loop_turn_seconds'},
];

const samples = [];  // {at (s), metrics, peers}, the newest last
let answeredAt = null;

function element(parent, tag, attributes = {}, text = null) {
  const made = parent.namespaceURI === SVG || tag === 'svg' ? document.createElementNS(SVG, tag)
                                                           : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

function line(values, top) {
  let path = '';
  values.forEach((value, i) => {
    if (value === null) return;
    const x = 100 * (KEEP - values.length + i) / (KEEP - 1);
    path += (path === '' ? 'M' : 'L') + x.toFixed(2) + ' ' + (29 - 28 * value / top).toFixed(2);
  });
  return path;
}

// By the daemon's own uptime, so that a restart is a gap and no negative rate.
function rateOf(i, [name, where]) {
  if (i === 0) return null;
  const before = samples[i - 1], now = samples[i];
  const value = (sum(now.metrics, name, where) - sum(before.metrics, name, where)) / (now.at - before.at);
  return now.at <= before.at || value < 0 ? null : value;
}

function drawRates() {
  const box = byId('rates');
  box.replaceChildren();
  for (const rate of RATES) {
    const ins = samples.map((_, i) => rateOf(i, rate.in)), outs = samples.map((_, i) => rateOf(i, rate.out));
    const top = Math.max(1, ...ins, ...outs);
    const figure = element(box, 'figure', {class: 'chart'});
    const caption = element(figure, 'figcaption');
    element(caption, 'span', {}, rate.name);
    const last = (values) => values.at(-1) === null || values.length === 0 ? '–' : rate.unit(values.at(-1));
    element(caption, 'strong', {}, '↓ ' + last(ins) + '  ↑ ' + last(outs));
    const svg = element(figure, 'svg', {viewBox: '0 0 100 30', preserveAspectRatio: 'none', role: 'img',
      'aria-label': `${rate.name}: in ${last(ins)}, out ${last(outs)} a second`});
    element(svg, 'path', {d: line(ins, top)});
    element(svg, 'path', {d: line(outs, top), class: 'second'});
    element(figure, 'span', {class: 'small'}, `── in  ╌╌ out  top: ${rate.unit(top)}`);
  }
}

function drawLatencies() {
  const now = samples.at(-1), before = samples[Math.max(0, samples.length - 1 - LATENCY_SAMPLES)];
  const body = byId('latencies').tBodies[0];
  body.replaceChildren();
  for (const latency of LATENCIES) {
    const was = now === before ? [] : histogram(before.metrics, latency.metric);
    const is = histogram(now.metrics, latency.metric);
    const half = quantile(was, is, 0.5), most = quantile(was, is, 0.99);
    const total = is.length === 0 ? 0 : is.at(-1).count - (was.length === 0 ? 0 : was.at(-1).count);
    const row = element(body, 'tr');
    element(row, 'td', {}, latency.name);
    element(row, 'td', {}, latency.what);
    element(row, 'td', {class: 'number'}, half === null ? '–' : time(half));
    element(row, 'td', {class: 'number'}, most === null ? '–' : time(most));
    element(row, 'td', {class: 'number'}, count(total));
    const bar = element(element(row, 'td', {class: 'bars'}), 'span', {class: 'bar'});
    // 10 us to 10 s.
    bar.style.width = most === null ? '0' : Math.min(100, Math.max(1, 100 * (Math.log10(most) + 5) / 6)) + '%';
  }
}

// Distance from the middle: by the logarithm of the round trip, 0.1 ms to 1 s.
function distance(rtt_us) {
  const decades = Math.log10(Math.min(1e6, Math.max(100, rtt_us))) - 2;
  return 50 + 120 * decades / 4;
}

function drawTopology(peers) {
  const svg = byId('topology');
  svg.replaceChildren();
  const connected = peers.filter((peer) => peer.state === 'connected');
  const shown = connected.concat(peers.filter((peer) => peer.state !== 'connected' && peer.state !== 'lost'))
      .slice(0, PEERS_DRAWN);
  const more = peers.filter((peer) => peer.state !== 'lost').length - shown.length;
  element(svg, 'title', {id: 'topology-text'},
      `${connected.length} peers connected: ` + connected.map((peer) => shortKey(peer.peer)).join(', ') +
      (more > 0 ? `; ${more} more are not drawn` : ''));
  for (const [rtt, label] of [[1e3, '1 ms'], [1e4, '10 ms'], [1e5, '100 ms']]) {
    element(svg, 'circle', {class: 'ring', r: distance(rtt)});
    element(svg, 'text', {class: 'scale', y: -distance(rtt) - 2}, label);
  }
  shown.forEach((peer, i) => {
    const angle = 2 * Math.PI * i / shown.length - Math.PI / 2 + 0.2;
    const r = peer.state === 'connected' ? distance(peer.rtt_us) : 190;
    const x = r * Math.cos(angle), y = r * Math.sin(angle);
    const group = element(svg, 'g', {'data-peer': peer.peer, 'data-state': peer.state});
    element(group, 'title', {}, `${peer.peer || '(unknown key)'} ${peer.address || peer.configured}, ${peer.state}`);
    if (peer.state === 'connected') {
      element(group, 'line', {x1: 0, y1: 0, x2: x, y2: y, class: peer.direction});
      element(group, 'circle', {cx: x, cy: y, r: 6, class: peer.core_present ? '' : 'hollow'});
    } else {
      element(group, 'path', {d: `M${x - 5} ${y - 5}L${x + 5} ${y + 5}M${x - 5} ${y + 5}L${x + 5} ${y - 5}`});
    }
    const name = shown.length <= NAMED_MAX ? shortKey(peer.peer) : '';
    element(group, 'text', {x, y: y + 17}, (peer.preferred ? '★ ' : '') + name);
  });
  element(svg, 'circle', {r: 9});
  element(svg, 'text', {y: 22}, 'this daemon');
}

function drawPeers(peers) {
  const before = samples.length > 1 ? samples.at(-2) : null;
  const seconds = before === null ? 0 : samples.at(-1).at - before.at;
  const body = byId('peers').tBodies[0];
  body.replaceChildren();
  const order = ['connected', 'dialling', 'resolving', 'waiting', 'lost'];
  const sorted = [...peers].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || (a.peer < b.peer ? -1 : 1));
  for (const peer of sorted.slice(0, PEERS_SHOWN)) {
    const row = element(body, 'tr', {'data-state': peer.state});
    const live = peer.state === 'connected';
    element(row, 'td', {class: 'key', title: peer.peer}, shortKey(peer.peer));
    element(row, 'td', {}, live ? `✓ ${peer.direction}${peer.core_present ? '' : ', no core'}`
                               : `✕ ${peer.state}${peer.banned ? ', banned' : ''}${peer.last_reason ? ', ' + peer.last_reason : ''}`);
    element(row, 'td', {title: peer.configured}, peer.address || peer.configured);
    element(row, 'td', {class: 'number'}, live ? time(peer.rtt_us / 1e6) : '');
    element(row, 'td', {class: 'number'}, live && peer.clock_offset_us !== undefined ? time(peer.clock_offset_us / 1e6) : '');
    const old = before === null ? undefined : before.peers.find((each) => each.peer === peer.peer && each.peer !== '');
    const rate = (field) => !live || !old || seconds <= 0 || peer[field] < old[field]
        ? '' : bytes((peer[field] - old[field]) / seconds);
    element(row, 'td', {class: 'number'}, rate('bytes_sent'));
    element(row, 'td', {class: 'number'}, rate('bytes_received'));
    const waiting = peer.classes.reduce((total, each) => total + each.queued_messages, 0);
    element(row, 'td', {class: 'number'}, live ? count(waiting) : '');
    element(row, 'td', {class: 'number'}, live ? peer.score.toFixed(1) : '');
    element(row, 'td', {}, peer.agent);
  }
  setText('peers-more', sorted.length > PEERS_SHOWN ? `and ${sorted.length - PEERS_SHOWN} more: see peers` : '');
}

function drawNow(status, metrics) {
  setText('node', shortKey(status.node));
  byId('node').title = status.node;
  document.title = `overlayd ${shortKey(status.node)}`;
  setText('about', `${status.version}, up ${time(status.uptime_ms / 1000)}, peers at ${status.peer_address}`);
  setText('ledger', status.newest_closed_slot === null ? 'none yet' : String(status.newest_closed_slot));
  setText('core', status.core === null ? '✕ none' : `✓ ${status.core.tracking ? 'tracking' : 'not tracking'}`);
  setText('peer-count', String(status.peers_connected));
  setText('peer-detail', `${status.peers_inbound} dialled us, ${status.peers_dialling} being dialled`);
  setText('last-envelope', age(status.last_envelope_age_ms));
  setText('mempool', count(status.mempool_transactions));
  setText('mempool-detail', `${bytes(status.mempool_bytes)}, ${count(status.mempool_pending)} without a verdict`);
  setText('memory', bytes(sum(metrics, 'overlay_process_resident_bytes')));
}

function showVerdict(good, text) {
  const verdict = byId('verdict');
  verdict.className = good ? 'verdict' : 'verdict bad';
  const said = (good ? '✓ ' : '✕ ') + text;
  if (verdict.textContent !== said) verdict.textContent = said;
}

async function read(path) {
  const answer = await fetch(path, {cache: 'no-store', signal: AbortSignal.timeout(EVERY_MS * 2)});
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function update() {
  try {
    const [status, peers, metrics] = await Promise.all([
      read('status').then((answer) => answer.json()), read('peers').then((answer) => answer.json()),
      read('metrics').then((answer) => answer.text()).then(parseMetrics)]);
    samples.push({at: status.uptime_ms / 1000, metrics, peers: peers.peers});
    if (samples.length > KEEP) samples.shift();
    answeredAt = Date.now();
    drawNow(status, metrics);
    drawRates();
    drawLatencies();
    drawTopology(peers.peers);
    drawPeers(peers.peers);
    showVerdict(status.ready, status.ready ? 'ready' : 'not ready: ' + status.not_ready);
    document.body.dataset.updates = String(Number(document.body.dataset.updates || 0) + 1);
  } catch (error) {
    const since = answeredAt === null ? '' : ` for ${time((Date.now() - answeredAt) / 1000)}`;
    showVerdict(false, `no answer${since}: these figures are old (${error.message})`);
  }
  setTimeout(update, EVERY_MS);
}

update();
