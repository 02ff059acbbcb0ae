// What needs attention, and what there is.
import { h, fill, link, problem, empty, code } from '../dom.js';
import { get, all, every, path } from '../api.js';
import { state, to, many, count, ago, bytes } from '../words.js';
import { curl } from './events.js';
import { subscriptionTable } from './subscriptions.js';
import { busYAML } from './objects.js';

// busesAsked is of how many buses the scheduled events are counted, a request
// each.
const busesAsked = 12;
const subscriptionsShown = 100;

export default async function overview({ main, signal }) {
  const failures = h('div');
  const attention = h('section', { 'aria-label': 'Attention' }, h('p', { class: 'loading' }, 'Looking at what there is…'));
  const buses = h('section', { 'aria-label': 'Buses' });
  const subs = h('section', { 'aria-label': 'Subscriptions' });
  main.append(h('h1', {}, 'Overview'), failures, attention, buses, subs);
  every(4000, signal, async () => {
    const [ready, b, s, t, r] = await Promise.all([
      readiness(signal), all('v1/buses', {}, signal), all('v1/subscriptions', {}, signal), all('v1/targets', {}, signal), all('v1/rules', {}, signal),
    ]);
    const scheduled = new Map(await Promise.all(b.items.slice(0, busesAsked).map(async ({ name }) => {
      const page = await get(path('buses', name, 'scheduled'), { limit: 100 }, signal);
      return [name, page.items.length + (page.next ? '+' : '')];
    })));
    fill(failures);
    fill(attention, showAttention(ready, s.items, t.items, r.items, b.items));
    fill(buses, h('h2', {}, 'Buses'), showBuses(b.items, s.items, scheduled));
    fill(subs, h('h2', {}, 'Subscriptions'), s.items.length === 0
      ? empty('There is no subscription: each rule makes one for each of its targets.', link('#/rules', 'How to define a rule'))
      : [subscriptionTable(s.items.toSorted(urgent).slice(0, subscriptionsShown)), s.items.length > subscriptionsShown && h('p', { class: 'note' }, link('#/subscriptions', `All ${count(s.items.length)}`))]);
  }, (err) => fill(failures, problem(err)));
}

// readiness is what /readyz says, also if it is that the server is not ready.
async function readiness(signal) {
  try {
    return await get('readyz', {}, signal);
  } catch (err) {
    if (err.status !== 503) throw err;
    return { problem: err };
  }
}

const urgent = (a, b) => rank(b) - rank(a) || a.name.localeCompare(b.name);
const rank = (s) => (s.state !== 'active' ? 4 : 0) + (s.deadLetters > 0 ? 2 : 0) + (s.reason ? 1 : 0);

const attentionMost = 50;

function showAttention(ready, subs, targets, rules, buses) {
  const found = [];
  const note = (badge, what, more, where, label) => found.push(h('li', {}, badge, h('span', { class: 'what' }, what, more && h('span', { class: 'soft' }, ' – ', more)), where && link(where, label)));
  if (ready.problem) note(h('span', { class: 'state bad' }, 'not ready'), 'Events are not accepted', ready.problem.detail);
  for (const w of ready.warnings ?? []) note(h('span', { class: 'state warn' }, 'warning'), w);
  for (const s of subs) {
    if (s.state !== 'active') note(state(s.state), s.name, [s.reason, s.since && [' (', ago(s.since), ')']], to.subscription(s.rule, within(s)), 'Look');
    if (s.deadLetters > 0) note(h('span', { class: 'state bad' }, many(s.deadLetters, 'dead letter')), s.name, s.lastError, to.subscription(s.rule, within(s)), 'Redrive or purge');
  }
  for (const t of targets) {
    const st = t.status;
    if (st && (st.breaker === 'open' || st.breaker === 'half-open')) note(h('span', { class: 'state warn' }, `breaker ${st.breaker}`), `target ${t.name}`, st.reason || st.lastError, to.target(t.name), 'Look');
  }
  for (const r of rules) {
    const st = r.status;
    if (st?.suspended) note(h('span', { class: 'state bad' }, 'suspended'), `rule ${r.name}`, st.lastError, to.rule(r.name), 'Look');
    else if (st?.errors > 0) note(h('span', { class: 'state warn' }, many(st.errors, 'error')), `the filter of rule ${r.name} fails on events`, st.lastError, to.rule(r.name), 'Look');
    for (const e of st?.enrich ?? []) if (e.breaker === 'open') note(h('span', { class: 'state warn' }, 'breaker open'), `rule ${r.name} asks ${e.name}`, e.reason || e.lastError, to.rule(r.name), 'Look');
  }
  if (found.length > 0) {
    return [h('h2', {}, 'Needs attention'), h('ul', { class: 'attention panel' }, found.slice(0, attentionMost)),
      found.length > attentionMost && h('p', { class: 'note' }, `And ${found.length - attentionMost} more.`)];
  }
  if (buses.length === 0) return welcome();
  return h('p', { class: 'lead' }, state('ok'), ' Nothing needs attention: events are accepted, and no delivery is stuck.');
}

// within is the target in a subscription's name, with its consumer.
export const within = (s) => (s.consumer ? `${s.target}/${s.consumer}` : s.target);

function welcome() {
  return empty('Nothing is configured yet. Write a file such as this, and start the server with it:',
    code(busYAML), code('switchyard serve -c switchyard.yaml'));
}

function showBuses(buses, subs, scheduled) {
  if (buses.length === 0) return empty('There is no bus yet.');
  const of = (bus) => subs.filter((s) => s.bus === bus);
  const sum = (list, name) => list.reduce((n, s) => n + s[name], 0);
  const quiet = buses.length === 1 && buses[0].status?.last === 0;
  return [h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Bus'), ['Last sequence', 'Kept', 'To route', 'Waiting', 'Scheduled', 'Dead letters'].map((c) => h('th', { scope: 'col', class: 'num' }, c)))),
    h('tbody', {}, buses.map(({ name, status: st }) => h('tr', { 'data-key': name },
      h('td', {}, link(to.events(name), name)),
      h('td', { class: 'num', 'data-label': 'Last sequence' }, count(st?.last)),
      h('td', { class: 'num', 'data-label': 'Kept' }, bytes(st?.bytes)),
      h('td', { class: 'num', 'data-label': 'To route' }, count(Math.max(0, (st?.last ?? 0) - (st?.routed ?? 0)))),
      h('td', { class: 'num', 'data-label': 'Waiting' }, count(sum(of(name), 'depth'))),
      h('td', { class: 'num', 'data-label': 'Scheduled' }, scheduled.has(name) ? link(`#/scheduled/${encodeURIComponent(name)}`, scheduled.get(name)) : '–'),
      h('td', { class: 'num', 'data-label': 'Dead letters' }, sum(of(name), 'deadLetters') > 0 ? h('strong', { class: 'bad-text' }, count(sum(of(name), 'deadLetters'))) : '0')))))),
  quiet && empty('Nothing has been published yet. Publish an event, and see it here:', code(curl(buses[0].name)))];
}
