"""The page at ``/`` of the admin port: one document with its style and script inside, which nothing else is loaded for.

While it is seen it gets events from ``status/stream`` of the port that it came from (``live``). Where there are none,
it asks for ``status/overview`` every two seconds, and the other nodes through that port.
All paths are relative, so it works under the prefix of a proxy. It sets no cookie; a token stays in the page's memory.
"""

from functools import cache

from pico_core.plain.documents import page_policy, whole_page

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); --bad: #c62828;
  --warn: #945700; --good: #2e7d32; --dim: color-mix(in srgb, currentColor 65%, transparent) }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --warn: #ffcc80; --good: #a5d6a7 } }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 0 1rem 3rem }
header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: baseline; padding: 1rem 0 }
h1 { font-size: 1.2rem; margin: 0 } h2 { font-size: 1rem; margin: 1.5rem 0 .4rem }
#verdict { flex: 1 } .bad { color: var(--bad) } .warn { color: var(--warn) } .good { color: var(--good) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; border-top: 0; white-space: nowrap } td.n, th.n { text-align: right }
td { overflow-wrap: anywhere } .scroll { overflow-x: auto }
#charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .75rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .75rem }
figcaption { display: flex; justify-content: space-between; gap: .5rem }
svg { width: 100%; height: 3rem; display: block }
polyline { fill: none; stroke: currentColor; stroke-width: 1.5; vector-effect: non-scaling-stroke }
input, button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: .3rem; padding: .25rem .5rem }
button { cursor: pointer } :focus-visible { outline: 2px solid Highlight; outline-offset: 1px }
.dim { color: var(--dim) } code, .id { font-family: ui-monospace, monospace; font-size: .9em }
dialog { max-width: 44rem; width: calc(100% - 2rem); border: 1px solid var(--line); border-radius: .5rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 1rem }
"""

BODY = """
<header><h1>Pico</h1><p id="verdict" role="status" aria-live="polite">asking the nodes</p>
<label>Find an endpoint <input id="find" type="search" autocomplete="off" spellcheck="false"></label></header>
<form id="login" hidden><label>Token <input id="token" type="password" autocomplete="off"></label>
<button>Show</button> <span id="refused" role="alert"></span></form>
<main><section aria-labelledby="h-traffic"><h2 id="h-traffic">Traffic of all nodes</h2><div id="charts"></div></section>
<section aria-labelledby="h-nodes"><h2 id="h-nodes">Nodes</h2>
<div class="scroll"><table id="nodes"></table></div></section>
<section aria-labelledby="h-ends"><h2 id="h-ends">Endpoints <span id="count" class="dim"></span></h2>
<div class="scroll"><table id="endpoints"></table></div></section>
<section aria-labelledby="h-fail"><h2 id="h-fail">Last failures</h2>
<div class="scroll"><table id="failures"></table></div></section></main>
<dialog id="drawer" aria-labelledby="d-title"><h2 id="d-title"></h2><pre id="d-text"></pre>
<form method="dialog"><button>Close</button></form></dialog>
<noscript>This page needs its script. The same is told by pico server status, and by /status/overview.</noscript>
"""

SCRIPT = """
'use strict';
const EVERY_MS = 2000, POLL_MS = 60000, LIST_MS = 10000, POINTS = 60, MOST_NODES = 25, MOST_TEXT = 4 << 20;
const $ = id => document.getElementById(id);
const series = {requests: [], errors: [], flight: [], p99: []};
const titles = {requests: 'requests a second', errors: 'errors a second', flight: 'in flight', p99: 'p99, ms'};
let token = '', before = new Map(), busy = false, listed = '', listed_at = 0;
let poll_until = 0, wake = () => undefined, stopping = new AbortController();

async function ask(path) {
  const headers = token ? {Authorization: 'Bearer ' + token} : {};
  const answer = await fetch('status/' + path, {headers, cache: 'no-store', credentials: 'omit'});
  if (answer.status === 401) { $('login').hidden = false; throw new Error('a token is needed'); }
  $('login').hidden = true;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}
const at = (path, node) => ask(path + '?forward=' + encodeURIComponent(node));

function cell(text, kind) {
  const made = document.createElement(kind === 'th' ? 'th' : 'td');
  if (text instanceof Node) made.append(text); else made.textContent = text;
  if (kind === 'n' || typeof text === 'number') made.className = 'n';
  return made;
}
function fill(id, names, rows, none) {
  const head = document.createElement('tr');
  names.forEach((name, column) => { const made = cell(name, 'th'); made.scope = 'col';
    if (rows.length && typeof rows[0][column] === 'number') made.className = 'n'; head.append(made); });
  const lines = rows.map(row => {
    const line = document.createElement('tr'); line.append(...row.map(each => cell(each))); return line; });
  if (!rows.length) { const line = document.createElement('tr'), only = cell(none); only.colSpan = names.length;
    only.className = 'dim'; line.append(only); lines.push(line); }
  $(id).replaceChildren(head, ...lines);
}
function link(text, act) {
  const made = document.createElement('button'); made.type = 'button'; made.textContent = text;
  made.addEventListener('click', act); return made;
}
function word(text, kind) { const made = document.createElement('span'); made.textContent = text; made.className = kind;
  return made; }

function draw() {
  for (const [name, points] of Object.entries(series)) {
    let figure = $('c-' + name);
    if (!figure) {
      figure = document.createElement('figure'); figure.id = 'c-' + name;
      figure.innerHTML = '<figcaption><span></span><b></b></figcaption>' +
        '<svg viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true"><polyline/></svg>';
      figure.querySelector('span').textContent = titles[name]; $('charts').append(figure);
    }
    const most = Math.max(1, ...points), step = 100 / (POINTS - 1);
    const start = 100 - (points.length - 1) * step;
    const line = points.map((each, index) => `${start + index * step},${29 - 28 * each / most}`);
    figure.querySelector('polyline').setAttribute('points', line.join(' '));
    const last = points.length ? points[points.length - 1] : 0;
    figure.querySelector('b').textContent = last >= 10 ? Math.round(last) : Math.round(last * 10) / 10;
  }
}
function push(name, value) { series[name].push(value); if (series[name].length > POINTS) series[name].shift(); }

function p99(bounds, counts) {
  const total = counts.reduce((one, other) => one + other, 0);
  if (!total) return 0;
  let left = total * 0.99;
  for (let index = 0; index < counts.length; index++) {
    left -= counts[index];
    if (left <= 0) return 1000 * (index < bounds.length ? bounds[index] : bounds[bounds.length - 1]);
  }
  return 0;
}
const sum = table => Object.values(table).reduce((one, other) => one + other, 0);

function take(each, now) {
  const old = before.get(each.node), failed = sum(each.errors), span_s = old ? (now - old.now) / 1000 : 0;
  each.rate = span_s && each.requests >= old.requests ? (each.requests - old.requests) / span_s : 0;
  each.error_rate = span_s && failed >= old.failed ? (failed - old.failed) / span_s : 0;
  each.more = each.latency.map((count, index) => Math.max(0, count - (old ? old.latency[index] : count)));
  before.set(each.node, {now, requests: each.requests, failed, latency: each.latency});
  return each;
}
function measure(nodes) {
  let latency = null, bounds = [];
  const total = name => nodes.reduce((all, each) => all + each[name], 0);
  for (const each of nodes) {
    bounds = each.latency_bounds_s;
    latency = latency ? latency.map((count, index) => count + each.more[index]) : each.more;
  }
  push('requests', total('rate')); push('errors', total('error_rate')); push('flight', total('in_flight'));
  push('p99', latency ? p99(bounds, latency) : 0);
}

function showNodes(here, nodes, silent) {
  const rows = nodes.map(each => {
    const views = nodes.map(other => other.nodes.find(seen => seen.id === each.node)).filter(Boolean);
    const doubts = views.filter(seen => seen.status !== 'active').length;
    const state = each.state === 'running' ? 'good' : 'warn';
    const name = each.node + (each.node === here.node ? ' (asked)' : '');
    const seen = doubts ? word(`not active for ${doubts} of ${views.length}`, 'bad') : `by ${views.length}`;
    return [name, word(each.state, state), each.version, each.tunnels, each.endpoints, Math.round(each.rate * 10) / 10,
      each.in_flight, seen];
  });
  for (const [node, why] of silent) rows.push([node, word(why, 'bad'), '', '', '', '', '', '']);
  fill('nodes', ['Node', 'State', 'Version', 'Tunnels', 'Endpoints', 'Requests/s', 'In flight', 'Seen'], rows, 'none');
}
function showFailures(nodes) {
  const known = new Map();
  for (const each of nodes) for (const story of each.failures)
    if (!known.has(story.request_id) || story.hop === 'entry') known.set(story.request_id, story);
  const rows = [...known.values()].sort((one, other) => other.at_s - one.at_s).slice(0, 20).map(story => [
    story.at_s ? new Date(story.at_s * 1000).toLocaleTimeString() : '', story.status, story.reason || 'of the service',
    story.endpoint, `${story.method} ${story.path}`, link(story.request_id, () => tellRequest(story.request_id))]);
  fill('failures', ['Time', 'Status', 'Reason', 'Endpoint', 'Request', 'ID'], rows, 'none that a node remembers');
}
async function showEndpoints() {
  const match = $('find').value.trim();
  const found = await ask(match ? 'endpoints/' + encodeURIComponent(match) : 'endpoints');
  $('count').textContent = found.count > found.rows.length ? `${found.rows.length} of ${found.count}` : found.count;
  const rows = found.rows.map(row => [link(row.endpoint, () => tellEndpoint(row.endpoint, row.protocol)), row.protocol,
    sum(row.tunnels), Object.entries(row.tunnels).map(([node, count]) => `${node} (${count})`).join(', ')]);
  fill('endpoints', ['Endpoint', 'Protocol', 'Tunnels', 'At nodes'], rows, match ? 'none with this name' : 'none');
}

async function everywhere(path) {
  const answers = [], silent = [];
  for (const row of (await ask('cluster/nodes')).slice(0, MOST_NODES)) {
    if (row.status !== 'active') silent.push([row.id, row.status]);
    else try { answers.push(await at(path, row.id)); } catch (error) { silent.push([row.id, error.message]); }
  }
  return [answers, silent];
}
function tell(title, text) { $('d-title').textContent = title; $('d-text').textContent = text;
  if (!$('drawer').open) $('drawer').showModal(); }
async function tellEndpoint(endpoint, protocol) {
  const table = protocol === 'tcp' ? 'explain-tcp/' : 'explain/';
  const [answers, silent] = await everywhere(table + encodeURIComponent(endpoint));
  const lines = answers.map(each => `${each.node}: ${each.succeeds ? 'would send it on' : each.reason}` +
    each.tunnels.map(tunnel => `\\n    tunnel of an agent at ${tunnel.agent}, ${tunnel.in_flight} of ` +
      `${tunnel.max_streams} streams in use${tunnel.failing ? ', avoided after failures' : ''}`).join('') +
    (each.reason ? `\\n    ${each.meaning}\\n    ${each.advice}` : ''));
  for (const [node, why] of silent) lines.push(`${node}: ${why}`);
  tell(endpoint, lines.join('\\n'));
}
async function tellRequest(id) {
  const [answers] = await everywhere('requests/' + encodeURIComponent(id));
  const lines = answers.map(story => `${story.hop}: ${story.method} ${story.path} for ${story.endpoint} from ` +
    `${story.client}, ${story.duration_ms} ms` + story.attempts.map((each, index) =>
      `\\n    attempt ${index + 1}: ${each.via}: ${each.reason}` + (each.detail ? ` (${each.detail})` : '')).join('') +
    `\\n    answered ${story.status}: ${story.reason || 'the answer of the service'}`);
  tell('Request ' + id, lines.join('\\n') || 'no node remembers it');
}

function say(text, kind) { const verdict = $('verdict');
  if (verdict.textContent !== text) { verdict.textContent = text; verdict.className = kind; } }
async function show(here, others, silent) {
  const nodes = [here, ...others], bad = silent.length;
  for (const known of before.keys()) if (!nodes.some(each => each.node === known)) before.delete(known);
  measure(nodes); draw(); showNodes(here, nodes, silent); showFailures(nodes);
  const state = JSON.stringify([here.endpoints, here.nodes.map(each => [each.id, each.endpoints, each.tunnels])]);
  if (state !== listed || performance.now() - listed_at > LIST_MS) {
    listed = state; listed_at = performance.now(); await showEndpoints();
  }
  say(`cluster of ${nodes.length + bad}: ` + (bad ? `${bad} not answering` : 'all good'), bad ? 'bad' : 'good');
}
async function refresh() {
  if (busy || document.hidden) return;
  busy = true;
  try {
    const here = await ask('overview'), now = performance.now(), silent = [];
    const asked = here.nodes.filter(each => each.status === 'active').slice(0, MOST_NODES - 1);
    for (const each of here.nodes) if (each.status !== 'active') silent.push([each.id, each.status]);
    const others = await Promise.all(asked.map(each => at('overview', each.id).catch(error => {
      silent.push([each.id, error.message]); return null; })));
    await show(take(here, now), others.filter(Boolean).map(each => take(each, now)), silent);
  } catch (error) { say(error.message, 'bad'); }
  busy = false;
}

async function stream() {
  const headers = token ? {Authorization: 'Bearer ' + token} : {}, others = new Map(), silent = new Map();
  stopping = new AbortController();
  const answer = await fetch('status/stream',
    {headers, cache: 'no-store', credentials: 'omit', signal: stopping.signal});
  if (answer.status === 401) { $('login').hidden = false; throw new Error('a token is needed'); }
  $('login').hidden = true;
  if (!answer.ok || !answer.body) { poll_until = performance.now() + POLL_MS; throw new Error('no stream'); }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    text += value;
    if (text.length > MOST_TEXT) { stopping.abort(); throw new Error('too much at once'); }
    for (let end; (end = text.indexOf('\\n\\n')) >= 0; text = text.slice(end + 2)) {
      const kind = text.slice(7, text.indexOf('\\n')), told = JSON.parse(text.slice(text.indexOf('data: ') + 6, end));
      if (kind === 'silent') { silent.set(told.node, told.why); others.delete(told.node); }
      else if (kind === 'node') { others.set(told.node, take(told, performance.now())); silent.delete(told.node); }
      else if (kind === 'here') await tellAll(take(told, performance.now()), others, silent);
    }
  }
}
async function tellAll(here, others, silent) {
  const active = new Set(here.nodes.filter(each => each.status === 'active').map(each => each.id));
  for (const table of [others, silent]) for (const node of table.keys()) if (!active.has(node)) table.delete(node);
  const lost = here.nodes.filter(each => each.status !== 'active').map(each => [each.id, each.status]);
  await show(here, [...others.values()], [...lost, ...silent]);
}
async function watch() {
  for (;;) {
    if (!document.hidden && $('login').hidden) {
      try { if (performance.now() >= poll_until) { await stream(); continue; } } catch (error) {
        if (!$('login').hidden) say(error.message, 'bad');
      }
      if (!document.hidden && $('login').hidden) await refresh();
    }
    await new Promise(resolve => { wake = resolve; setTimeout(resolve, EVERY_MS); });
  }
}
$('find').addEventListener('input', () => showEndpoints().catch(() => undefined));
$('login').addEventListener('submit', event => { event.preventDefault(); token = $('token').value.trim(); busy = false;
  refresh().then(() => { $('refused').textContent = $('login').hidden ? '' : 'it was refused'; wake(); }); });
document.addEventListener('visibilitychange', () => { if (document.hidden) stopping.abort(); else wake(); });
watch();
"""


@cache
def page() -> bytes:
    """Return the page as UTF-8."""
    return whole_page("Pico", STYLE, BODY, SCRIPT)


@cache
def policy() -> str:
    """Return the Content-Security-Policy: only this style and this script, and questions to the port itself."""
    return page_policy(STYLE, SCRIPT)
