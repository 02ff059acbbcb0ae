// Subscriptions: one rule × one of its targets, with what it owes and what it
// gave up.
import { h, fill, link, problem, failing, say, ask, act, empty, heading, button, table, figures } from '../dom.js';
import { get, post, all, every, path, address } from '../api.js';
import { time, ago, state, to, many, count, duration } from '../words.js';
import { block } from '../json.js';
import { showAttempt } from './event.js';
import { narrowed } from './narrowed.js';

const pageSize = 20;

// within is the target in a subscription's name, with its consumer.
export const within = (s) => (s.consumer ? `${s.target}/${s.consumer}` : s.target);

// stateOf is a subscription's state; one that is active and held up waits.
const stateOf = (s) => state(s.state === 'active' && s.reason ? 'waiting' : s.state);

// alarming is a number that should be 0.
export const alarming = (n) => (n > 0 ? h('strong', { class: 'bad-text' }, count(n)) : '0');

const columns = [
  ['Rule → target', (s) => link(to.subscription(s.rule, within(s)), `${s.rule} → ${within(s)}`)],
  ['Bus', (s) => (s.bus ? link(to.events(s.bus), s.bus) : '–')],
  ['State', (s) => h('div', {}, stateOf(s), s.reason && h('div', { class: 'note' }, s.reason))],
  ['Waiting', (s) => count(s.depth), 'num'],
  ['In flight', (s) => count(s.inFlight), 'num'],
  ['Oldest', (s) => duration(s.oldestAge), 'num'],
  ['Dead letters', (s) => alarming(s.deadLetters), 'num'],
];

// subscriptionTable lists subscriptions.
export const subscriptionTable = (list) => table(columns, list, (s) => s.name);

// subscriptions is the page of all.
export const subscriptions = (page) => narrowed(page, {
  title: 'Subscriptions', lead: 'Each rule has one for each of its targets: a queue, with retries and dead letters of its own.',
  hint: 'part of a name', from: 'v1/subscriptions', ms: 4000, one: '#/subscriptions/RULE/TARGET',
  texts: (s) => [s.name],
  show: subscriptionTable,
  none: () => empty('There is none yet: define a rule with a target.', link('#/rules', 'How to define a rule')),
  noMatch: 'No name has that in it.',
});

// subscription is the page of one.
export async function subscription({ main, params: [rule, target, consumer], signal }) {
  const name = [rule, target, consumer].filter(Boolean).join('/');
  const failures = h('div');
  const outcome = h('div');
  const head = h('div', {}, heading(name));
  const about = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const it = { name, signal, outcome, where: path('subscriptions', rule, target), whom: consumer ? { consumer } : undefined, refresh: () => refresh() };
  const letters = deadLetters(it);
  const tries = recentAttempts(it);
  main.append(h('p', { class: 'crumbs' }, link('#/subscriptions', 'Subscriptions')), head, failures, outcome, about, letters.element, tries.element);

  let known = -1; // dead letters that are shown
  const refresh = every(3000, signal, async () => {
    const s = await get(it.where, it.whom, signal);
    fill(failures);
    fill(head, heading(`${s.rule} → ${within(s)}`,
      ['Rule ', link(to.rule(s.rule), s.rule), s.bus && [' on bus ', link(to.events(s.bus), s.bus)], ' to target ', link(to.target(s.target), s.target)],
      s.state === 'paused' && button('Resume', (e) => resume(e.currentTarget, it), { class: 'primary' }),
      s.state === 'active' && button('Pause…', (e) => pause(e.currentTarget, it)),
      s.state !== 'orphaned' && button('Seek…', (e) => seek(e.currentTarget, it)),
      s.depth > 0 && button('Drop what waits…', (e) => drop(e.currentTarget, it, s.depth))));
    fill(about, showState(s));
    if (s.deadLetters !== known) await letters.renew(s.deadLetters);
    known = s.deadLetters;
    await tries.renew();
  }, failing(failures, about));
}

function showState(s) {
  return h('div', { class: 'panel' },
    h('p', {}, stateOf(s), s.reason && ` ${s.reason}`, s.since && [', ', ago(s.since)]),
    figures([count(s.depth), 'waiting'], [count(s.inFlight), 'in flight'], [duration(s.oldestAge), 'oldest'], [count(s.deadLetters), 'dead letters'],
      s.leases !== undefined && [count(s.leases), 'leases out'], s.waiting !== undefined && [count(s.waiting), 'receives waiting']),
    s.lastError && h('p', {}, 'Last error, ', ago(s.lastErrorTime), ': ', h('span', { class: 'bad-text' }, s.lastError)),
    h('p', { class: 'note' }, s.from > 0 ? `It takes the events above #${s.from} of its bus.` : 'It takes all events of its bus.'));
}

const resume = (pressed, { where, whom, outcome, refresh }) => act(pressed, outcome, async () => {
  await post(where + '/resume', undefined, whom);
  say('Deliveries go on.');
  refresh();
});

async function pause(pressed, { where, whom, outcome, refresh }) {
  const reason = h('input', { id: 'reason', maxlength: 250, placeholder: 'maintenance until four' });
  const sure = await ask({
    title: 'Pause deliveries?', confirm: 'Pause',
    body: ['What matches is queued until they are resumed.', h('span', { class: 'stack' }, h('label', {}, 'Why, for others to see', reason))],
  });
  if (!sure) return;
  await act(pressed, outcome, async () => {
    await post(where + '/pause', { reason: reason.value.trim() }, whom);
    say('Paused.');
    refresh();
  });
}

async function seek(pressed, { where, whom, name, outcome, refresh }) {
  const place = h('input', { id: 'place', placeholder: 'start, end, 120 or 2026-01-31T08:00:00Z', autocomplete: 'off' });
  const sure = await ask({
    title: 'Move the subscription?', danger: true, confirm: 'Move',
    body: [`What ${name} owes now is dropped; it goes on from the place that you give. A place in the past delivers again what was delivered.`,
      h('span', { class: 'stack' }, h('label', {}, 'A sequence, a time, start or end', place))],
  });
  if (!sure) return;
  await act(pressed, outcome, async () => {
    const done = await post(where + '/seek', { to: place.value.trim() }, whom);
    say(`It goes on from #${done.to}; ${many(done.dropped, 'delivery', 'deliveries')} dropped. ${done.note ?? ''}`);
    refresh();
  });
}

async function drop(pressed, { where, whom, name, outcome, refresh }, depth) {
  const sure = await ask({
    title: `Drop ${many(depth, 'delivery', 'deliveries')}?`, confirm: 'Drop', danger: true, typed: name,
    body: 'All that this subscription still owes is dropped and never delivered. Its dead letters stay.',
  });
  if (!sure) return;
  await act(pressed, outcome, async () => {
    const done = await post(where + '/purge', {}, whom);
    say(`${many(done.count, 'delivery', 'deliveries')} dropped.`);
    refresh();
  });
}

// deadLetters lists dead letters, to be redriven and purged.
function deadLetters({ where, whom, signal, name, refresh }) {
  const outcome = h('div');
  const bar = h('div', { class: 'actions' });
  const list = h('div');
  const foot = h('div', { class: 'actions' });
  const chosen = new Set();
  let items = [];
  let next = '';
  let total = 0;
  const read = async (after) => {
    const page = await get(where + '/deadletters', { ...whom, limit: pageSize, after }, signal);
    items = after ? [...items, ...page.items] : page.items;
    next = page.next;
    const there = new Set(items.map((d) => d.id));
    for (const id of chosen) if (!there.has(id)) chosen.delete(id);
    show();
  };
  const send = (pressed, what, body, done) => act(pressed, outcome, async () => {
    const answer = await post(where + '/deadletters/' + what, body, whom);
    say(`${many(answer.count, 'dead letter')} ${done}.`);
    chosen.clear();
    await read('');
    refresh();
  });
  const redrive = (label, body, more) => button(label, (e) => send(e.currentTarget, 'redrive', body(), 'queued again'), more);
  const purge = (label, n, body, more, typed) => button(label, async (e) => {
    const pressed = e.currentTarget;
    const sure = await ask({
      title: `Purge ${many(n(), 'dead letter')}?`, confirm: 'Purge', danger: true, typed,
      body: 'They are dropped with their attempts, and cannot be redriven any more. The events stay in their bus.',
    });
    if (sure) await send(pressed, 'purge', body(), 'purged');
  }, more);
  const choose = (id) => (e) => {
    if (e.currentTarget.checked) chosen.add(id);
    else chosen.delete(id);
    show();
  };
  const ids = () => ({ ids: [...chosen] });
  const show = () => {
    const none = { disabled: chosen.size === 0 };
    const most = Math.max(total, items.length);
    fill(bar, items.length > 0 && [
      redrive(`Redrive all (${count(most)})`, () => ({}), { class: 'primary' }), redrive(`Redrive chosen (${chosen.size})`, ids, none),
      purge('Purge chosen…', () => chosen.size, ids, none), purge('Purge all…', () => most, () => ({ all: true }), {}, name)]);
    fill(list, items.length === 0 ? h('p', { class: 'soft' }, 'None: nothing was given up.') : items.map((d) => h('article', { class: 'panel', 'data-key': d.id },
      h('div', { class: 'head' },
        h('label', { class: 'check' }, h('input', { type: 'checkbox', onchange: choose(d.id) }), h('span', {}, h('strong', {}, d.event.type), ' ', d.event.subject)),
        h('div', { class: 'actions' }, link(to.event(d.bus, d.sequence), `${d.bus} #${d.sequence}`), redrive('Redrive', () => ({ ids: [d.id] })))),
      h('p', {}, 'Given up ', time(d.died), ' after ', many(d.attempts.length, 'attempt'), ': ', h('span', { class: 'bad-text' }, d.reason)),
      h('details', { 'data-key': 'attempts' }, h('summary', {}, 'Attempts and event'),
        h('ol', { class: 'timeline' }, d.attempts.map((a) => showAttempt(a))),
        block(d.event, { raw: address(path('buses', d.bus, 'events', d.sequence)) })))));
    fill(foot, next && button('More dead letters', (e) => act(e.currentTarget, outcome, () => read(next))));
  };
  return {
    element: h('section', { 'aria-label': 'Dead letters' }, h('h2', {}, 'Dead letters'), bar, outcome, list, foot),
    renew: async (n) => {
      total = n;
      await read('');
    },
  };
}

const attemptKinds = [['', 'all'], ['failed', 'failed'], ['ok', 'accepted'], ['timeout', 'timeouts'], ['5xx', 'answered 5xx'], ['4xx', 'answered 4xx']];

// recentAttempts lists recent attempts, those of the newest event first.
function recentAttempts({ where, whom, signal }) {
  const outcome = h('div');
  const list = h('div');
  const foot = h('div', { class: 'actions' });
  const status = h('select', { id: 'attempts-status' }, attemptKinds.map(([value, label]) => h('option', { value }, label)));
  let items = [];
  let deeper = false;
  const one = (a) => showAttempt(a, ' · ', link(to.event(a.bus, a.sequence), `${a.bus} #${a.sequence}`));
  const show = (next) => {
    fill(list, items.length > 0 ? h('ol', { class: 'timeline panel' }, items.map(one))
      : h('p', { class: 'soft' }, next ? 'None among those looked at.' : 'None is kept.'));
    fill(foot, next && button('Older attempts', (e) => act(e.currentTarget, outcome, () => read(next))));
  };
  const read = async (after) => {
    const page = await get(where + '/attempts', { ...whom, status: status.value, limit: pageSize, after }, signal);
    items = after ? [...items, ...page.items] : page.items;
    deeper = Boolean(after);
    show(page.next);
  };
  status.onchange = () => read('').catch((err) => err.name !== 'AbortError' && fill(outcome, problem(err)));
  return {
    element: h('section', { 'aria-label': 'Recent attempts' }, h('div', { class: 'head low' }, h('h2', {}, 'Recent attempts'),
      h('div', { class: 'actions' }, h('label', { for: 'attempts-status' }, 'Show'), status)), outcome, list, foot),
    renew: async () => { if (!deeper) await read(''); }, // what the reader has asked for stays
  };
}
