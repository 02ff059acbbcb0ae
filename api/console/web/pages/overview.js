// What needs attention, and what there is.
import { h, fill, link, failing, empty, code, heading, table } from '../dom.js';
import { get, all, every, path } from '../api.js';
import { state, badge, to, many, count, ago, bytes } from '../words.js';
import { curl } from './events.js';
import { subscriptionTable, within, alarming } from './subscriptions.js';
import { busYAML } from './objects.js';

// busesAsked is of how many buses the scheduled events are counted, a request
// each.
const busesAsked = 12;
const subscriptionsShown = 100;
const attentionMost = 50;

export default async function overview({ main, signal }) {
  const failures = h('div');
  const attention = h('section', { 'aria-label': 'Attention' }, h('p', { class: 'loading' }, 'Looking at what there is…'));
  const buses = h('section', { 'aria-label': 'Buses' });
  const subs = h('section', { 'aria-label': 'Subscriptions' });
  main.append(heading('Overview'), failures, attention, buses, subs);
  every(4000, signal, async () => {
    const [ready, b, s, t, r, src] = await Promise.all([readiness(signal),
      ...['buses', 'subscriptions', 'targets', 'rules', 'sources'].map((list) => all('v1/' + list, {}, signal))]);
    const scheduled = new Map(await Promise.all(b.items.slice(0, busesAsked).map(async ({ name }) => {
      const page = await get(path('buses', name, 'scheduled'), { limit: 100 }, signal);
      return [name, page.items.length + (page.next ? '+' : '')];
    })));
    const cut = [[s, 'subscriptions'], [t, 'targets'], [r, 'rules'], [src, 'sources']].filter(([list]) => list.more);
    fill(failures);
    fill(attention, showAttention(ready, s.items, t.items, r.items, b.items, src.items),
      cut.map(([list, what]) => h('p', { class: 'note' }, `Only the first ${count(list.items.length)} ${what} are looked at here.`)));
    fill(buses, h('h2', {}, 'Buses'), showBuses(b.items, s.items, scheduled));
    fill(subs, h('h2', {}, 'Subscriptions'), showSubscriptions(s.items));
  }, failing(failures, attention));
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

// showAttention lists what somebody should look at.
function showAttention(ready, subs, targets, rules, buses, sources) {
  const found = [];
  const note = (mark, what, more, where, label = 'Look') => found.push(h('li', {}, mark,
    h('span', { class: 'what' }, what, more && h('span', { class: 'soft' }, ' – ', more)), where && link(where, label)));
  if (ready.problem) note(badge('bad', 'not ready'), 'Events are not accepted', ready.problem.detail);
  for (const w of ready.warnings ?? []) note(badge('warn', 'warning'), w);
  for (const s of subs) {
    const page = to.subscription(s.rule, within(s));
    if (s.state !== 'active') note(state(s.state), s.name, [s.reason, s.since && [' (', ago(s.since), ')']], page);
    if (s.deadLetters > 0) note(badge('bad', many(s.deadLetters, 'dead letter')), s.name, s.lastError, page, 'Redrive or purge');
  }
  const held = (st) => st && st.breaker !== 'closed' && st.breaker !== 'off';
  for (const { name, status: st } of targets) {
    if (held(st)) note(badge('warn', `breaker ${st.breaker}`), `target ${name}`, st.reason || st.lastError, to.target(name));
  }
  for (const { name, status: st } of sources) {
    if (st?.failingSince) note(state('failing'), `source ${name}`, st.lastError, to.object('sources', name));
  }
  for (const { name, status: st } of rules) {
    if (st?.suspended) note(state('suspended'), `rule ${name}`, st.lastError, to.rule(name));
    else if (st?.errors > 0) note(badge('warn', many(st.errors, 'error')), `the filter of rule ${name} fails on events`, st.lastError, to.rule(name));
    for (const e of st?.enrich ?? []) {
      if (held(e)) note(badge('warn', `breaker ${e.breaker}`), `rule ${name} asks ${e.name}`, e.reason || e.lastError, to.rule(name));
    }
  }
  if (found.length > 0) {
    return [h('h2', {}, 'Needs attention'), h('ul', { class: 'attention panel' }, found.slice(0, attentionMost)),
      found.length > attentionMost && h('p', { class: 'note' }, `And ${count(found.length - attentionMost)} more.`)];
  }
  if (buses.length === 0) {
    return empty('Nothing is configured yet. Write a file such as this, and start the server with it:', code(busYAML), code('switchyard serve -c switchyard.yaml'));
  }
  return h('p', { class: 'lead' }, state('ok'), ' Nothing needs attention: events are accepted, and no delivery is stuck.');
}

function showBuses(buses, subs, scheduled) {
  if (buses.length === 0) return empty('There is no bus yet.');
  const sum = (bus, name) => subs.filter((s) => s.bus === bus).reduce((n, s) => n + s[name], 0);
  const columns = [
    ['Bus', ({ name }) => link(to.events(name), name)],
    ['Last sequence', ({ status: st }) => count(st?.last), 'num'],
    ['Kept', ({ status: st }) => bytes(st?.bytes), 'num'],
    ['To route', ({ status: st }) => count(Math.max(0, (st?.last ?? 0) - (st?.routed ?? 0))), 'num'],
    ['Waiting', ({ name }) => count(sum(name, 'depth')), 'num'],
    ['Scheduled', ({ name }) => (scheduled.has(name) ? link(`#/scheduled/${encodeURIComponent(name)}`, scheduled.get(name)) : '–'), 'num'],
    ['Dead letters', ({ name }) => alarming(sum(name, 'deadLetters')), 'num'],
  ];
  const quiet = buses.every((b) => !b.status?.last);
  return [table(columns, buses, (b) => b.name),
    quiet && empty('Nothing has been published yet. Publish an event, and see it here:', code(curl(buses[0].name)))];
}

function showSubscriptions(subs) {
  if (subs.length === 0) return empty('There is none: each rule makes one for each of its targets.', link('#/rules', 'How to define a rule'));
  const rank = (s) => (s.state !== 'active' ? 4 : 0) + (s.deadLetters > 0 ? 2 : 0) + (s.reason ? 1 : 0);
  const urgent = subs.toSorted((a, b) => rank(b) - rank(a) || a.name.localeCompare(b.name));
  return [subscriptionTable(urgent.slice(0, subscriptionsShown)),
    subs.length > subscriptionsShown && h('p', {}, link('#/subscriptions', `All ${count(subs.length)} subscriptions`))];
}
