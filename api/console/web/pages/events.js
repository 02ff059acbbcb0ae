// Events of a bus, or of all, newest first: a search that is kept in the
// address, and what arrives live.
import { h, fill, link, problem, empty, code } from '../dom.js';
import { get, all, address, path, parse } from '../api.js';
import { time, state, to, many, count } from '../words.js';

const pageSize = 50;
const rowsMost = 1000; // rows that one page shows
const liveMost = 200;
const statuses = ['', 'queued', 'inflight', 'retrying', 'delivered', 'dead', 'expired'];

const typeField = ['type', 'Type', 'com.example.*'];
const moreFields = [
  ['source', 'Source', '/shop'], ['subject', 'Subject', 'eu/*'], ['id', 'Id', ''],
  ['from', 'From', 'time or sequence'], ['to', 'To', 'time or sequence'], ['rule', 'Rule', ''], ['target', 'Target', ''],
];

export default async function events({ main, params: [bus], query, signal }) {
  const buses = (await all('v1/buses', {}, signal)).items.map((b) => b.name);
  const known = [typeField, ...moreFields].map(([name]) => name).concat('status', 'when');
  const filter = Object.fromEntries(known.map((name) => [name, query.get(name) ?? '']));
  const given = known.filter((name) => filter[name]);

  const select = h('select', { onchange: () => go(form, select.value, known) },
    h('option', { value: '' }, 'all buses'), buses.map((b) => h('option', { value: b, selected: b === bus }, b)));
  const when = h('input', { name: 'when', value: filter.when, placeholder: 'event.data.total > 100', class: 'mono', spellcheck: 'false', autocomplete: 'off' });
  const field = ([name, label, hint]) => h('label', {}, label, h('input', { name, value: filter[name], placeholder: hint, autocomplete: 'off', spellcheck: 'false' }));
  const form = h('form', {
    class: 'panel', onsubmit: (e) => { e.preventDefault(); go(form, select.value, known); },
  },
  h('div', { class: 'fields' },
    h('label', {}, 'Bus', select),
    h('label', {}, 'Delivery', h('select', { name: 'status', onchange: () => go(form, select.value, known) }, statuses.map((s) => h('option', { value: s, selected: s === filter.status }, s === '' ? 'any' : s)))),
    field(typeField), h('label', { class: 'wide' }, 'Condition (CEL)', when)),
  h('details', { open: moreFields.some(([name]) => filter[name]) }, h('summary', {}, 'More filters'), h('div', { class: 'fields' }, moreFields.map(field))),
  h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Search'),
    given.length > 0 && link(to.events(bus), 'Clear the filters'),
    h('span', { class: 'note' }, 'A value that ends in * is a prefix.')));

  const live = h('input', { type: 'checkbox', id: 'live', disabled: !bus || ['status', 'rule', 'target', 'from', 'to'].some((n) => filter[n]) });
  const liveNote = h('span', { class: 'note', role: 'status' }, !bus ? 'Choose a bus to see events live.' : live.disabled ? 'Live goes with neither a time nor deliveries.' : '');
  const body = h('tbody');
  const table = h('div', { class: 'panel scroll', hidden: true }, h('table', { class: 'cards' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Recorded'), h('th', { scope: 'col', class: 'num' }, 'Sequence'), ['Type', 'Subject', 'Source', 'Id'].map((c) => h('th', { scope: 'col' }, c)))), body));
  const below = h('div');
  main.append(h('div', { class: 'head' }, h('div', {}, h('h1', {}, bus ? `Events of ${bus}` : 'Events'), h('p', { class: 'lead' }, 'Newest first.')),
    h('div', { class: 'actions' }, liveNote, h('label', { class: 'check' }, live, 'Live'))), form, table, below);
  if (buses.length === 0) {
    fill(below, empty('There is no bus yet.', link('#/buses', 'How to define one')));
    return;
  }

  let found = 0;
  const search = { ...filter, bus, limit: pageSize };
  const more = async (after) => {
    fill(below, h('p', { class: 'loading', role: 'status' }, 'Searching…'));
    try {
      const page = await get('v1/events/search', { ...search, after }, signal);
      found += page.items.length;
      body.append(...page.items.map((it) => row(it.bus, it.sequence, it.recordedtime, it.event, it.deliveries, !bus)));
      table.hidden = body.children.length === 0;
      const on = page.next && h('button', { type: 'button', onclick: () => more(page.next) }, page.complete ? 'Older events' : 'Search on');
      const looked = h('p', { class: 'note' }, `${many(found, 'event')} shown; ${count(page.scanned)} read and ${count(page.skipped)} passed over for this page`,
        page.complete ? '.' : ', when the time of one request was over.');
      if (found === 0 && !page.next && given.length === 0 && bus) fill(below, empty(`Nothing has been published to ${bus} yet, or it is no longer kept.`, h('p', {}, 'Publish an event:'), code(curl(bus))));
      else if (found === 0 && !page.next) fill(below, empty('No event fits.', given.length > 0 && link(to.events(bus), 'Clear the filters')));
      else if (body.children.length >= rowsMost) fill(below, looked, h('p', { class: 'note' }, `These are as many as a page shows; set “To” to ${body.lastElementChild.dataset.recorded} to go on from there.`));
      else fill(below, looked, on);
    } catch (err) {
      if (err.name !== 'AbortError') fill(below, problem(err, () => more(after)));
    }
  };
  live.onchange = () => (live.checked ? watch() : stop());
  let stream = null;
  const stop = () => { stream?.close(); stream = null; liveNote.textContent = ''; };
  signal.addEventListener('abort', () => stream?.close());
  const watch = () => {
    stream = new EventSource(address(path('buses', bus, 'tail'), { when: liveFilter(filter) }));
    liveNote.textContent = 'Connecting…';
    stream.onopen = () => { liveNote.textContent = 'New events appear on top.'; };
    stream.onerror = () => { liveNote.textContent = stream?.readyState === EventSource.CLOSED ? 'The server ended it; switch it on again.' : 'Connecting again…'; };
    stream.onmessage = (m) => {
      const ev = parse(m.data);
      const tr = row(bus, Number(m.lastEventId), ev.recordedtime, ev, null, false);
      tr.classList.add('new');
      if ([...body.children].slice(0, liveMost).some((have) => have.dataset.key === tr.dataset.key)) return;
      body.prepend(tr);
      while (body.children.length > liveMost) body.lastElementChild.remove();
      table.hidden = false;
      fill(below, h('p', { class: 'note' }, `Live: at most the last ${liveMost} events are shown. Reload the page to go back further.`));
    };
  };
  await more('');
}

// go puts what a form asks for into the address, which shows it.
function go(form, bus, known) {
  const asked = {};
  for (const name of known) {
    const value = form.elements[name].value.trim();
    if (value) asked[name] = value;
  }
  const next = to.events(bus, Object.keys(asked).length > 0 ? asked : null);
  if (location.hash === next) window.dispatchEvent(new HashChangeEvent('hashchange'));
  else location.hash = next;
}

// liveFilter is a filter of attributes as CEL, for the tail takes nothing else.
function liveFilter(filter) {
  const parts = filter.when ? [`(${filter.when})`] : [];
  for (const name of ['id', 'type', 'source', 'subject']) {
    const value = filter[name];
    if (value.endsWith('*')) parts.push(`event.${name}.startsWith(${JSON.stringify(value.slice(0, -1))})`);
    else if (value) parts.push(`event.${name} == ${JSON.stringify(value)}`);
  }
  return parts.join(' && ');
}

// row shows one event.
function row(bus, seq, recorded, ev, deliveries, withBus) {
  const key = `${bus}-${seq}`;
  return h('tr', { 'data-key': key, 'data-recorded': recorded },
    h('td', { 'data-label': 'Recorded' }, time(recorded, true)),
    h('td', { class: 'num', 'data-label': 'Sequence' }, link(to.event(bus, seq), withBus ? `${bus} #${seq}` : `#${seq}`)),
    h('td', { 'data-label': 'Type' }, link(to.event(bus, seq), ev.type),
      deliveries?.map((d) => h('div', { class: 'note' }, `${d.rule} → ${d.target} `, state(d.status), d.attempts > 0 && ` ${many(d.attempts, 'attempt')}`, d.lastError && `: ${d.lastError}`))),
    h('td', { 'data-label': 'Subject' }, ev.subject ?? ''),
    h('td', { 'data-label': 'Source' }, ev.source), h('td', { class: 'mono', 'data-label': 'Id' }, ev.id));
}

// curl is a command that publishes an event.
export function curl(bus) {
  return `curl -i ${address(path('buses', bus, 'events'))} \\
  -H 'Content-Type: application/cloudevents+json' \\
  -d '{"specversion": "1.0", "id": "1", "source": "/hello", "type": "com.example.hello", "data": {"text": "hello"}}'`;
}
