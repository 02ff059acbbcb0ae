// Buses, targets and sources as they are configured, and what they do.
import { h, fill, link, failing, empty, code, heading, table, facts } from '../dom.js';
import { get, all, every, path, address } from '../api.js';
import { state, to, count, bytes, ago } from '../words.js';
import { yaml } from '../json.js';
import { curl } from './events.js';
import { subscriptionTable } from './subscriptions.js';

const subscriptionsShown = 200;

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

const targetKinds = ['http', 'log', 'bus', 'nats', 'function', 'pull'];
const sourceKinds = ['webhook', 'cron', 'nats'];
const kindOf = (o, known) => Object.keys(o).find((k) => known.includes(k)) ?? '–';
const breaker = (st) => (!st ? '–' : st.breaker === 'closed' ? 'closed' : state(st.breaker));
const refused = (st) => Object.values(st?.rejected ?? {}).reduce((a, b) => a + b, 0);
const retention = (o) => (o.retention ? yaml(o.retention).replaceAll('\n', ', ') : 'default');

// kinds are the kinds of objects: what they are called, an example to begin with
// in YAML and for the API, what a list shows of them, and what they do at present.
const kinds = {
  buses: {
    title: 'Buses', one: 'bus', lead: 'Each is a durable log of events.',
    example: 'buses:\n  orders: {retention: {age: 7d}}', put: ['orders', '{"retention": {"age": "7d"}}'],
    columns: [['Last sequence', (o) => count(o.status?.last), 'num'], ['Kept', (o) => bytes(o.status?.bytes), 'num'], ['Retention', retention]],
    status: (st) => [['Kept', `#${st.first} to #${st.last}, ${bytes(st.bytes)}`], ['Routed up to', `#${st.routed}`],
      ['Subjects in its table', st.table?.subjects], ['Events still to look at for the table', st.table?.left]],
  },
  targets: {
    title: 'Targets', one: 'target', lead: 'Where rules send events to.',
    example: 'targets:\n  crm:\n    http: {url: https://crm.example.com/events}', put: ['printed', '{"log": {}}'],
    columns: [['Kind', (o) => kindOf(o, targetKinds)], ['Breaker', (o) => breaker(o.status)], ['In flight', (o) => count(o.status?.inFlight), 'num'],
      ['Failures in a row', (o) => count(o.status?.failures), 'num']],
    status: (st) => [['Circuit breaker', breaker(st)], ['Why deliveries wait', st.reason && [st.reason, st.until && [' (', ago(st.until), ')']]],
      ['In flight', `${st.inFlight} of ${st.concurrency} at most now`],
      ['Failures in a row', [count(st.failures), st.failingSince && [', since ', ago(st.failingSince)]]],
      ['Last error', st.lastError && h('span', { class: 'bad-text' }, st.lastError)],
      ['Paused', st.paused?.length > 0 && st.paused.map((p) => h('div', {}, `${p.name}: ${p.reason}`))]],
  },
  sources: {
    title: 'Sources', one: 'source', lead: 'What brings events in, beside publishing over HTTP.',
    example: 'sources:\n  tick:\n    bus: orders\n    cron: {schedule: "@hourly", event: {type: com.example.tick}}',
    put: ['tick', '{"bus": "orders", "cron": {"schedule": "@hourly", "event": {"type": "com.example.tick"}}}'],
    columns: [['Kind', (o) => kindOf(o, sourceKinds)], ['Bus', (o) => (o.bus ? link(to.events(o.bus), o.bus) : '–')], ['Refused', (o) => count(refused(o.status)), 'num']],
    status: (st) => [['Address', st.url && h('code', {}, String(address(st.url)))],
      ...Object.entries(st.rejected ?? {}).map(([why, n]) => [`Refused: ${why}`, count(n)])],
  },
};

// how says how to make an object of a kind.
function how(kind) {
  const { example, put: [name, body] } = kinds[kind];
  return [h('p', {}, 'In the configuration file:'), code(example), h('p', {}, 'Or over HTTP:'),
    code(`curl -X PUT ${address(path(kind, name))} \\\n  -H 'Content-Type: application/json' -d '${body}'`)];
}

// objects is the page of all objects of a kind.
export function objects(kind) {
  return async ({ main, signal }) => {
    const { title, one, lead, columns } = kinds[kind];
    const shown = [['Name', (o) => link(to.object(kind, o.name), o.name)], ...columns, ['Defined in', origin, 'soft']];
    const failures = h('div');
    const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
    main.append(heading(title, lead), failures, list);
    every(5000, signal, async () => {
      const { items, more } = await all('v1/' + kind, {}, signal);
      fill(failures);
      fill(list, items.length > 0 ? table(shown, items, (o) => o.name) : empty(`There is no ${one} yet.`, how(kind)),
        more && h('p', { class: 'note' }, `The first ${count(items.length)}.`));
    }, failing(failures, list));
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
    const { title, one, status } = kinds[kind];
    const of = { buses: 'bus', targets: 'target' }[kind];
    const failures = h('div');
    const body = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
    main.append(h('p', { class: 'crumbs' }, link(`#/${kind}`, title)), heading(name), failures, body);
    every(4000, signal, async () => {
      const o = await get(path(kind, name), {}, signal);
      const subs = of ? (await all('v1/subscriptions', {}, signal)).items.filter((s) => s[of] === name) : [];
      fill(failures);
      fill(body, h('p', { class: 'lead' }, `A ${one}, defined in ${origin(o)}.`),
        kind === 'buses' && h('p', {}, link(to.events(name), 'Its events'), ' · ', link(`#/scheduled/${encodeURIComponent(name)}`, 'scheduled events')),
        o.status && h('div', { class: 'panel' }, facts(status(o.status))),
        h('h2', {}, 'Definition'), code(definition(o)),
        kind === 'buses' && [h('h2', {}, 'Publish an event'), code(curl(name))],
        of && [h('h2', {}, 'Subscriptions'), subs.length > 0 ? subscriptionTable(subs.slice(0, subscriptionsShown)) : h('p', { class: 'soft' }, 'None.'),
          subs.length > subscriptionsShown && h('p', { class: 'note' }, `The first ${subscriptionsShown} of ${count(subs.length)}.`)]);
    }, failing(failures, body));
  };
}
