// Buses, targets and sources as they are configured, and what they do.
import { h, fill, link, problem, empty, code } from '../dom.js';
import { get, all, every, path, address } from '../api.js';
import { state, to, count, bytes, ago } from '../words.js';
import { yaml } from '../json.js';
import { curl } from './events.js';
import { subscriptionTable } from './subscriptions.js';

// busYAML is a configuration to begin with.
export const busYAML = `version: 1
buses:
  orders: {}
rules:
  large:
    bus: orders
    when: event.type == "com.example.order.placed" && event.data.total > 100
    targets: [printed]
targets:
  printed: {log: {}}`;

const about = {
  buses: { title: 'Buses', one: 'bus', lead: 'Each is a durable log of events.', yaml: 'buses:\n  orders: {retention: {age: 7d}}', put: ['orders', '{}'] },
  targets: { title: 'Targets', one: 'target', lead: 'Where rules send events to.', yaml: 'targets:\n  crm:\n    http: {url: https://crm.example.com/events}', put: ['printed', '{"log": {}}'] },
  sources: { title: 'Sources', one: 'source', lead: 'What brings events in, beside publishing over HTTP.', yaml: 'sources:\n  tick:\n    bus: orders\n    cron: {schedule: "@hourly", event: {type: com.example.tick}}', put: ['tick', '{"bus": "orders", "cron": {"schedule": "@hourly", "event": {"type": "com.example.tick"}}}'] },
};

// how says how to make an object of a kind.
function how(kind) {
  const [name, body] = about[kind].put;
  return [h('p', {}, 'In the configuration file:'), code(about[kind].yaml), h('p', {}, 'Or over HTTP:'),
    code(`curl -X PUT ${address(path(kind, name))} \\\n  -H 'Content-Type: application/json' -d '${body}'`)];
}

const kindOf = (o, known) => Object.keys(o).find((k) => known.includes(k)) ?? '–';
const targetKinds = ['http', 'log', 'bus', 'nats', 'function', 'pull'];
const sourceKinds = ['webhook', 'cron', 'nats'];

const columns = {
  buses: [['Last sequence', (o) => count(o.status?.last), 'num'], ['Kept', (o) => bytes(o.status?.bytes), 'num'], ['Retention', (o) => (o.retention ? yaml(o.retention).replaceAll('\n', ', ') : 'default')]],
  targets: [['Kind', (o) => kindOf(o, targetKinds)], ['Breaker', (o) => breaker(o.status)], ['In flight', (o) => count(o.status?.inFlight), 'num'], ['Failures in a row', (o) => count(o.status?.failures), 'num']],
  sources: [['Kind', (o) => kindOf(o, sourceKinds)], ['Bus', (o) => (o.bus ? link(to.events(o.bus), o.bus) : '–')], ['Refused', (o) => count(Object.values(o.status?.rejected ?? {}).reduce((a, b) => a + b, 0)), 'num']],
};

const breaker = (st) => (!st ? '–' : st.breaker === 'closed' ? 'closed' : state(st.breaker));

// objects is the page of all objects of a kind.
export function objects(kind) {
  return async ({ main, signal }) => {
    const { title, one, lead } = about[kind];
    const failures = h('div');
    const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
    main.append(h('h1', {}, title), h('p', { class: 'lead' }, lead), failures, list);
    every(5000, signal, async () => {
      const { items, more } = await all('v1/' + kind, {}, signal);
      fill(failures);
      if (items.length === 0) {
        fill(list, empty(`There is no ${one} yet.`, how(kind)));
        return;
      }
      fill(list, h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Name'), columns[kind].map(([c, , cls]) => h('th', { scope: 'col', class: cls }, c)), h('th', { scope: 'col' }, 'Defined in'))),
        h('tbody', {}, items.map((o) => h('tr', { 'data-key': o.name }, h('td', {}, link(`#/${kind}/${encodeURIComponent(o.name)}`, o.name)),
          columns[kind].map(([c, value, cls]) => h('td', { class: cls, 'data-label': c }, value(o))), h('td', { class: 'soft', 'data-label': 'Defined in' }, origin(o))))))),
      more && h('p', { class: 'note' }, `The first ${count(items.length)}.`));
    }, (err) => fill(failures, problem(err)));
  };
}

// origin says where an object is defined.
export const origin = (o) => (o.origin === 'api' ? 'the API' : o.origin);

// definition is an object as it is configured.
export function definition(o) {
  const { name, origin: _, status: __, warnings: ___, ...rest } = o;
  return yaml({ [name]: rest });
}

// object is the page of one.
export function object(kind) {
  return async ({ main, params: [name], signal }) => {
    const failures = h('div');
    const body = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
    main.append(h('p', { class: 'crumbs' }, link(`#/${kind}`, about[kind].title)), h('h1', {}, name), failures, body);
    every(4000, signal, async () => {
      const o = await get(path(kind, name), {}, signal);
      const subs = kind === 'sources' ? [] : (await all('v1/subscriptions', {}, signal)).items.filter((s) => (kind === 'buses' ? s.bus : s.target) === name);
      fill(failures);
      fill(body, h('p', { class: 'lead' }, `A ${about[kind].one}, defined in ${origin(o)}.`),
        kind === 'buses' && h('p', {}, link(to.events(name), 'Its events'), ' · ', link(`#/scheduled/${encodeURIComponent(name)}`, 'scheduled events')),
        showStatus[kind](o),
        h('h2', {}, 'Definition'), code(definition(o)),
        kind === 'buses' && [h('h2', {}, 'Publish an event'), code(curl(name))],
        kind !== 'sources' && [h('h2', {}, 'Subscriptions'), subs.length === 0 ? h('p', { class: 'soft' }, 'None.') : subscriptionTable(subs.slice(0, 200))]);
    }, (err) => fill(failures, problem(err)));
  };
}

const rows = (list) => h('div', { class: 'panel' }, h('dl', {}, list.filter(([, v]) => v !== undefined && v !== null && v !== '').map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)])));

const showStatus = {
  buses: ({ status: st }) => st && rows([['Kept', `#${st.first} to #${st.last}, ${bytes(st.bytes)}`], ['Routed up to', `#${st.routed}`], ['Subjects in its table', st.table?.subjects], ['Events still to look at for the table', st.table?.left]]),
  targets: ({ status: st }) => st && rows([['Circuit breaker', breaker(st)], ['Why deliveries wait', st.reason && [st.reason, st.until && [', until ', ago(st.until)]]],
    ['In flight', `${st.inFlight} of ${st.concurrency} at most now`], ['Failures in a row', st.failures > 0 ? [count(st.failures), st.failingSince && [', since ', ago(st.failingSince)]] : '0'],
    ['Last error', st.lastError && h('span', { class: 'bad-text' }, st.lastError)], ['Paused', st.paused?.length > 0 && st.paused.map((p) => h('div', {}, `${p.name}: ${p.reason}`))]].map(([k, v]) => [k, v || undefined])),
  sources: ({ status: st }) => st && rows([['Address', st.url && h('code', {}, st.url)], ...Object.entries(st.rejected ?? {}).map(([why, n]) => [`Refused: ${why}`, count(n)])]),
};
