"""The inspector's page: one document with its style and script inside, which nothing else is loaded for.

It asks for the list once a second while it is seen. All that comes from requests and responses becomes text nodes, and
the Content-Security-Policy names this script alone, so nothing in them is ever run. A token stays in the page's memory.
"""

from functools import cache

from pico_core.plain.documents import page_policy, whole_page

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); --bad: #c62828;
  --warn: #945700; --good: #2e7d32; --dim: color-mix(in srgb, currentColor 65%, transparent) }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --warn: #ffcc80; --good: #a5d6a7 } }
* { box-sizing: border-box } [hidden] { display: none !important }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0; padding: 0 1rem 2rem }
header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .75rem 0 }
h1 { font-size: 1.2rem; margin: 0 } h2 { font-size: 1.05rem; margin: .25rem 0; overflow-wrap: anywhere }
h3 { font-size: .95rem; margin: 1rem 0 .25rem }
#verdict { flex: 1; min-width: 12rem; margin: 0 } #filter { width: 22rem; max-width: 100% }
header label { max-width: 100% }
.bad { color: var(--bad) } .warn { color: var(--warn) } .good { color: var(--good) } .dim { color: var(--dim) }
#banner { border: 1px solid var(--warn); border-radius: .3rem; padding: .25rem .75rem }
main { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 1.5rem; align-items: start }
@media (max-width: 60rem) { main { grid-template-columns: minmax(0, 1fr) } }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-top: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } thead th { border-top: 0; white-space: nowrap } .n { text-align: right; white-space: nowrap }
td, th { overflow-wrap: anywhere } tr[aria-selected=true] { background: color-mix(in srgb, Highlight 18%, transparent) }
@media (max-width: 34rem) { #list td:nth-child(n+5), [aria-labelledby=h-list] th:nth-child(n+5) { display: none } }
#list button { border: 0; padding: 0; text-align: left; overflow-wrap: anywhere }
#list, #fields, pre, code { font-family: ui-monospace, monospace; font-size: .9em }
input, button, textarea { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: .3rem; padding: .25rem .5rem }
button { cursor: pointer } button:disabled { cursor: default; opacity: .5 }
:focus-visible { outline: 2px solid Highlight; outline-offset: 1px }
.bar { display: flex; flex-wrap: wrap; gap: .5rem; margin: .5rem 0 }
meter { width: 100%; height: .6rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; max-height: 32rem; overflow: auto; padding: .5rem;
  border: 1px solid var(--line); border-radius: .3rem }
dialog { width: min(60rem, calc(100% - 2rem)); border: 1px solid var(--line); border-radius: .5rem }
dialog label { display: block; margin: .5rem 0 } dialog input, dialog textarea { width: 100%; display: block }
textarea { font-family: ui-monospace, monospace; font-size: .9em }
"""

BODY = """
<header><h1>Pico inspector</h1><p id="verdict" role="status" aria-live="polite">asking the agent</p>
<label>Filter <input id="filter" type="search" autocomplete="off" spellcheck="false"
 placeholder="status:5xx path:/api method:POST ms:&gt;500 text"></label>
<button id="pause" type="button" aria-pressed="false">Pause</button> <button id="clear" type="button">Clear</button>
<button id="har" type="button">Save as HAR</button></header>
<form id="login" hidden><label>Token <input id="token" type="password" autocomplete="off"></label>
<button>Show</button> <span id="refused" role="alert"></span></form>
<p id="banner" hidden>Credentials are recorded and shown here: inspect.show_secrets is on.</p>
<main><section aria-labelledby="h-list"><h2 id="h-list">Requests <span id="count" class="dim"></span></h2>
<table><thead><tr><th scope="col" class="n">Status</th><th scope="col">Method</th><th scope="col">Target</th>
<th scope="col" class="n">ms</th><th scope="col" class="n">Bytes</th><th scope="col">Time</th></tr></thead>
<tbody id="list"></tbody></table></section>
<section id="detail" aria-labelledby="d-title" hidden><h2 id="d-title"></h2><p id="d-about" class="dim"></p>
<div class="bar"><button id="replay" type="button">Replay</button>
<button id="edit" type="button">Edit and replay</button><button id="curl" type="button">Copy as curl</button>
<button id="save-request" type="button">Save request body</button>
<button id="save-response" type="button">Save response body</button></div>
<p id="d-told" role="status" aria-live="polite"></p>
<h3>Timing</h3><table id="d-timing"></table>
<h3>Request</h3><table id="d-request"></table><p id="d-request-note" class="dim"></p><pre id="d-request-body"
 tabindex="0" aria-label="Body of the request"></pre>
<h3>Response</h3><table id="d-response"></table><p id="d-response-note" class="dim"></p><pre id="d-response-body"
 tabindex="0" aria-label="Body of the response"></pre></section></main>
<p class="dim">Keys: / filter, arrows up and down through the list, r replay, e edit and replay, c copy as curl.</p>
<dialog id="editor" aria-labelledby="e-title"><form id="e-form"><h2 id="e-title">Edit and replay</h2>
<label>Method <input id="e-method" required></label><label>Target <input id="e-target" required></label>
<label>Fields, one a line <textarea id="e-fields" rows="8" spellcheck="false"></textarea></label>
<label>Body <textarea id="e-body" rows="12" spellcheck="false"></textarea></label>
<p id="e-told" role="alert" class="dim"></p>
<div class="bar"><button id="e-send">Send</button>
<button id="e-close" type="button">Cancel</button></div></form></dialog>
<noscript>This page needs its script. The same is told by /api/requests.</noscript>
"""

SCRIPT = """
'use strict';
const EVERY_MS = 1000;
const $ = id => document.getElementById(id);
let token = '', version = '', asked = '', paused = false, busy = false, rows = new Map(), chosen = 0, seen = '',
  shown = null, told = {id: 0, text: ''};

async function ask(path, post) {
  const headers = token ? {Authorization: 'Bearer ' + token} : {};
  const options = {headers, cache: 'no-store', credentials: 'omit'};
  if (post !== undefined) { options.method = 'POST'; options.body = JSON.stringify(post);
    headers['Content-Type'] = 'application/json'; }
  const answer = await fetch('api/' + path, options);
  if (answer.status === 401) { $('login').hidden = false; throw new Error('a token is needed'); }
  $('login').hidden = true;
  if (!answer.ok) { let text = answer.statusText; try { text = (await answer.json()).error; } catch { }
    throw new Error(text); }
  return answer;
}
const json = async (path, post) => (await ask(path, post)).json();

function make(kind, text, className) { const made = document.createElement(kind);
  made.textContent = text; if (className) made.className = className; return made; }
function size(bytes) { return bytes < 10000 ? bytes + ' B' : bytes < 1e7 ? Math.round(bytes / 1024) + ' KiB'
  : Math.round(bytes / 1048576) + ' MiB'; }
function mood(row) { return row.state === 'live' ? 'dim' : row.status >= 500 || row.state === 'incomplete' ? 'bad'
  : row.status >= 400 ? 'warn' : 'good'; }

function line(row) {
  const made = document.createElement('tr'), status = row.status || (row.state === 'live' ? '...' : '-');
  const target = make('td', ''), open = make('button', row.target);
  open.type = 'button'; open.dataset.id = row.id; open.addEventListener('click', () => choose(row.id));
  target.append(open);
  const more = [row.replay_of ? 'replay of ' + row.replay_of : '', row.reason,
    row.state === 'incomplete' ? 'incomplete' : ''].filter(Boolean).join(', ');
  if (more) target.append(make('div', more, 'dim'));
  made.setAttribute('aria-selected', String(row.id === chosen));
  made.append(make('td', status, 'n ' + mood(row)), make('td', row.method), target,
    make('td', row.state === 'live' ? '' : Math.round(row.ms * 10) / 10, 'n'),
    make('td', size(row.response_bytes), 'n'),
    make('td', row.at_s ? new Date(row.at_s * 1000).toLocaleTimeString() : ''));
  return made;
}
function draw() {
  const focused = document.activeElement && document.activeElement.dataset.id;
  const lines = [...rows.values()].reverse().map(line);
  if (!lines.length) { const none = document.createElement('tr'), only = make('td', 'none yet', 'dim');
    only.colSpan = 6; none.append(only); lines.push(none); }
  $('list').replaceChildren(...lines);
  if (focused) { const again = $('list').querySelector(`[data-id="${focused}"]`); if (again) again.focus(); }
}
function say(text, kind) { const verdict = $('verdict');
  if (verdict.textContent !== text) { verdict.textContent = text; verdict.className = kind || ''; } }

async function refresh(again) {
  if (busy || (!again && (paused || document.hidden))) return;
  busy = true;
  try {
    const filter = $('filter').value.trim(), same = filter === asked ? '&after=' + version : '';
    const found = await json('requests?filter=' + encodeURIComponent(filter) + same);
    asked = filter; version = found.version;
    if (found.rows) {
      rows = new Map(found.rows.map(row => [row.id, row]));
      $('count').textContent = found.matching === found.kept ? found.kept : `${found.matching} of ${found.kept}`;
      $('banner').hidden = !found.shows_secrets;
      draw();
      const row = rows.get(chosen);
      if (row && JSON.stringify(row) !== seen) await load(chosen);
    }
    say(paused ? 'paused' : 'live', paused ? 'warn' : 'good');
  } catch (error) { version = ''; say(error.message, 'bad'); }
  busy = false;
}

function table(id, pairs) {
  $(id).replaceChildren(...pairs.map(([name, value]) => { const made = document.createElement('tr');
    const head = make('th', name); head.scope = 'row'; made.append(head, make('td', value)); return made; }));
}
function body(id, told) {
  const notes = [];
  if (told.kind === 'none' && !told.note) notes.push(told.size ? 'not shown' : 'no body');
  if (told.note) notes.push('not kept: ' + told.note);
  if (told.is_cut) notes.push(`first ${size(told.kept)} of ${size(told.size)}`);
  else if (told.size) notes.push(size(told.size));
  if (told.codings.length) notes.push('decoded from ' + told.codings.join(', '));
  if (told.is_redacted) notes.push('credentials are hidden');
  if (told.is_shortened) notes.push('only the beginning is shown: save it for the rest');
  $(id + '-note').textContent = notes.join('; ');
  const pairs = (told.pairs || []).map(([name, value]) => name + ' = ' + value);
  const text = told.kind === 'form' ? pairs.join('\\n') : told.text || '';
  $(id + '-body').textContent = text;
  $(id + '-body').hidden = !text;
}
function tell(text) {
  told = {id: chosen, text};
  const hint = !shown || shown.id !== chosen ? '' : shown.cannot_replay
    ? 'It cannot be replayed as it is: ' + shown.cannot_replay : shown.left_out.length
      ? 'A replay leaves out what was not recorded: ' + shown.left_out.join(', ') : '';
  $('d-told').textContent = [hint, text].filter(Boolean).join('. ');
}
async function load(id) {
  let found;
  try { found = await json('requests/' + id); }
  catch (error) { if (id === chosen) tell(error.message); return; }
  if (id !== chosen) return;
  shown = found; seen = JSON.stringify(rows.get(id));
  $('detail').hidden = false;
  $('d-title').textContent = `${found.method} ${found.target}`;
  const about = [`#${found.id}`, found.status ? 'status ' + found.status : found.state,
    found.reason && 'reason ' + found.reason, found.incomplete && 'broken off by the ' + found.incomplete,
    'endpoint ' + found.endpoint,
    found.request_id && 'request ' + found.request_id, found.replay_of && 'replay of #' + found.replay_of,
    found.tries > 1 && found.tries + ' tries'];
  $('d-about').textContent = about.filter(Boolean).join(', ');
  const parts = [['request', found.timing.request_ms], ['service', found.timing.wait_ms],
    ['response', found.timing.response_ms]], all = Math.max(0.001, parts.reduce((sum, each) => sum + each[1], 0));
  $('d-timing').replaceChildren(...parts.map(([name, ms]) => { const made = document.createElement('tr');
    const head = make('th', name), bar = document.createElement('meter'), cell = make('td', ''); head.scope = 'row';
    bar.max = all; bar.value = ms; bar.setAttribute('aria-label', `${name}: ${ms} ms`); cell.append(bar);
    made.append(head, make('td', Math.round(ms * 10) / 10 + ' ms', 'n'), cell); return made; }));
  table('d-request', found.request.fields); table('d-response', found.response.fields);
  body('d-request', found.request.body); body('d-response', found.response.body);
  $('replay').disabled = Boolean(found.cannot_replay);
  tell(told.id === id ? told.text : '');
}
function choose(id) { chosen = id; seen = ''; draw(); return load(id); }

async function send(edit) {
  const made = await json(`requests/${chosen}/replay`, edit);
  await choose(made.id);
  await refresh(true);
  const again = $('list').querySelector(`[data-id="${made.id}"]`); if (again) again.focus();
}
function replay() {
  if (shown && !$('replay').disabled) send({}).catch(error => tell(error.message));
}
function edit() {
  if (!shown) return;
  const told = shown.request.body, text = told.raw || told.text || '';
  const whole = told.kind !== 'binary' && !told.is_shortened && !told.is_cut && !told.note;
  $('e-method').value = shown.method; $('e-target').value = shown.target;
  $('e-fields').value = shown.request.fields.map(([name, value]) => name + ': ' + value).join('\\n');
  $('e-body').value = whole ? text : ''; $('e-body').dataset.was = $('e-body').value;
  $('e-told').textContent = whole || !told.size ? '' : shown.cannot_replay
    ? 'The body is not kept whole: give another one.' : 'The body is sent as it was while this one stays empty.';
  $('editor').showModal(); $('e-target').focus();
}
function edited() {
  const lines = $('e-fields').value.split('\\n').filter(each => each.trim());
  const fields = lines.map(each => { const at = each.indexOf(':');
    return at < 0 ? [each.trim(), ''] : [each.slice(0, at).trim(), each.slice(at + 1).trim()]; });
  const made = {method: $('e-method').value.trim(), target: $('e-target').value.trim(), fields};
  if ($('e-body').value !== $('e-body').dataset.was) made.body = $('e-body').value;
  return made;
}
async function copy() {
  if (!shown) return;
  try { await navigator.clipboard.writeText(shown.curl); }
  catch { const area = document.createElement('textarea'); area.value = shown.curl; document.body.append(area);
    area.select(); document.execCommand('copy'); area.remove(); $('curl').focus(); }
  tell('copied');
}
async function save(path, name) {
  try {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await (await ask(path)).blob()); link.download = name;
    link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) { say(error.message, 'bad'); }
}
function move(step) {
  const buttons = [...$('list').querySelectorAll('button')];
  const at = buttons.findIndex(each => Number(each.dataset.id) === chosen);
  const next = buttons[at < 0 ? 0 : Math.min(buttons.length - 1, Math.max(0, at + step))];
  if (next) { const id = Number(next.dataset.id); choose(id).catch(() => undefined);
    $('list').querySelector(`[data-id="${id}"]`).focus(); }
}

$('filter').addEventListener('input', () => refresh(true));
$('pause').addEventListener('click', () => { paused = !paused; $('pause').setAttribute('aria-pressed', String(paused));
  refresh(true); });
$('clear').addEventListener('click', () => ask('clear', {}).then(() => { chosen = 0; shown = null;
  $('detail').hidden = true; return refresh(true); }).catch(error => say(error.message, 'bad')));
$('har').addEventListener('click', () => save('har?filter=' + encodeURIComponent($('filter').value.trim()),
  'pico.har'));
$('replay').addEventListener('click', replay); $('edit').addEventListener('click', edit);
$('curl').addEventListener('click', copy);
for (const side of ['request', 'response']) $('save-' + side).addEventListener('click', () => shown
  && save(`requests/${shown.id}/${side}-body`, `${side}-${shown.id}.bin`));
$('e-close').addEventListener('click', () => $('editor').close());
$('editor').addEventListener('close', () => {
  const row = $('list').querySelector(`[data-id="${chosen}"]`); if (row) row.focus(); });
$('e-form').addEventListener('submit', event => { event.preventDefault();
  send(edited()).then(() => $('editor').close()).catch(error => { $('e-told').textContent = error.message; }); });
$('login').addEventListener('submit', event => { event.preventDefault(); token = $('token').value.trim(); busy = false;
  refresh(true).then(() => { $('refused').textContent = $('login').hidden ? '' : 'it was refused'; }); });
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('editor').open) return;
  // Right after the editor was closed, a browser may still send keys to a field in it.
  if (event.target.matches('input, textarea, pre') && !$('editor').contains(event.target)) return;
  const act = {'/': () => $('filter').focus(), ArrowDown: () => move(1), ArrowUp: () => move(-1), r: replay,
    e: edit, c: copy}[event.key];
  if (act) { event.preventDefault(); act(); }
});
document.addEventListener('visibilitychange', () => refresh());
setInterval(refresh, EVERY_MS);
refresh(true);
"""


@cache
def page() -> bytes:
    """Return the page as UTF-8."""
    return whole_page("Pico inspector", STYLE, BODY, SCRIPT)


@cache
def policy() -> str:
    """Return the Content-Security-Policy: only this style and this script, and questions to the port itself."""
    return page_policy(STYLE, SCRIPT)
