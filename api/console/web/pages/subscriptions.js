// Subscriptions: one rule × one of its targets, with what it owes and what it
// gave up.
import { h, fill, link, problem, say, ask, act, empty } from '../dom.js';
import { get, post, all, every, path, address } from '../api.js';
import { time, ago, state, to, many, count, duration } from '../words.js';
import { block } from '../json.js';
import { showAttempt } from './event.js';

const shownMost = 500;
const pageSize = 20;

const within = (s) => (s.consumer ? `${s.target}/${s.consumer}` : s.target);

// subscriptionTable lists subscriptions.
export function subscriptionTable(list) {
  return h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
    h('thead', {}, h('tr', {}, ['Rule → target', 'Bus', 'State'].map((c) => h('th', { scope: 'col' }, c)),
      ['Waiting', 'In flight', 'Oldest', 'Dead letters'].map((c) => h('th', { scope: 'col', class: 'num' }, c)))),
    h('tbody', {}, list.map((s) => h('tr', { 'data-key': s.name },
      h('td', {}, link(to.subscription(s.rule, within(s)), `${s.rule} → ${within(s)}`)),
      h('td', { 'data-label': 'Bus' }, s.bus ? link(to.events(s.bus), s.bus) : '–'),
      h('td', { 'data-label': 'State' }, h('div', {}, state(s.state === 'active' && s.reason ? 'waiting' : s.state), s.reason && h('div', { class: 'note' }, s.reason))),
      h('td', { class: 'num', 'data-label': 'Waiting' }, count(s.depth)), h('td', { class: 'num', 'data-label': 'In flight' }, count(s.inFlight)),
      h('td', { class: 'num', 'data-label': 'Oldest' }, duration(s.oldestAge)),
      h('td', { class: 'num', 'data-label': 'Dead letters' }, s.deadLetters > 0 ? h('strong', { class: 'bad-text' }, count(s.deadLetters)) : '0'))))));
}

// subscriptions is the page of all.
export async function subscriptions({ main, signal }) {
  const failures = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const search = h('input', { id: 'narrow', placeholder: 'part of a name', autocomplete: 'off' });
  main.append(h('div', { class: 'head' }, h('div', {}, h('h1', {}, 'Subscriptions'), h('p', { class: 'lead' }, 'Each rule has one for each of its targets: a queue, with retries and dead letters of its own.')),
    h('div', { class: 'actions' }, h('label', { for: 'narrow' }, 'Only'), search)), failures, list);
  let items = [];
  const show = () => {
    const fit = items.filter((s) => s.name.includes(search.value.trim()));
    fill(list, items.length === 0 ? empty('There is none yet: define a rule with a target.', link('#/rules', 'How to define a rule'))
      : fit.length === 0 ? empty('No name has that in it.')
        : [subscriptionTable(fit.slice(0, shownMost)), fit.length > shownMost && h('p', { class: 'note' }, `The first ${shownMost} of ${count(fit.length)}; narrow them down above.`)]);
  };
  search.oninput = show;
  every(4000, signal, async () => {
    ({ items } = await all('v1/subscriptions', {}, signal));
    fill(failures);
    show();
  }, (err) => fill(failures, problem(err)));
}

// subscription is the page of one.
export async function subscription({ main, params: [rule, target, consumer], signal }) {
  const where = path('subscriptions', rule, target);
  const whom = consumer ? { consumer } : undefined;
  const name = [rule, target, consumer].filter(Boolean).join('/');
  const failures = h('div');
  const head = h('div', { class: 'head' }, h('h1', {}, `${rule} → ${target}${consumer ? '/' + consumer : ''}`));
  const about = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const dead = h('section', { 'aria-label': 'Dead letters' });
  const attempts = h('section', { 'aria-label': 'Recent attempts' });
  main.append(h('p', { class: 'crumbs' }, link('#/subscriptions', 'Subscriptions')), head, failures, about, dead, attempts);

  const letters = deadLetters({ where, whom, signal, failures, name, changed: () => refresh() });
  dead.append(letters.element);
  const tries = recentAttempts({ where, whom, signal });
  attempts.append(tries.element);

  const doing = (work) => (e) => act(e.currentTarget, failures, async () => { await work(); refresh(); });
  let before = '';
  const refresh = every(3000, signal, async () => {
    const s = await get(where, whom, signal);
    fill(failures);
    fill(head, h('div', {}, h('h1', {}, `${s.rule} → ${within(s)}`),
      h('p', { class: 'lead' }, 'Rule ', link(to.rule(s.rule), s.rule), s.bus && [' on bus ', link(to.events(s.bus), s.bus)], ' to target ', link(to.target(s.target), s.target))),
    h('div', { class: 'actions' },
      s.state === 'paused' ? h('button', { type: 'button', class: 'primary', onclick: doing(async () => { await post(where + '/resume', undefined, whom); say('Deliveries go on.'); }) }, 'Resume')
        : s.state === 'active' && h('button', { type: 'button', onclick: (e) => pause(e.currentTarget, { where, whom, failures, refresh }) }, 'Pause…'),
      s.state !== 'orphaned' && h('button', { type: 'button', onclick: (e) => seek(e.currentTarget, { where, whom, failures, refresh, name }) }, 'Seek…'),
      s.depth > 0 && h('button', {
        type: 'button', onclick: async (e) => {
          const button = e.currentTarget;
          if (!await ask({ title: `Drop ${many(s.depth, 'delivery', 'deliveries')}?`, body: 'All that this subscription still owes is dropped and never delivered. Its dead letters stay.', confirm: 'Drop', danger: true, typed: name })) return;
          await act(button, failures, async () => { const done = await post(where + '/purge', {}, whom); say(`${many(done.count, 'delivery', 'deliveries')} dropped.`); refresh(); });
        },
      }, 'Drop what waits…')));
    fill(about, showState(s));
    const now = `${s.deadLetters}`;
    if (now !== before) { before = now; await letters.renew(s.deadLetters); }
    await tries.renew();
  }, (err) => fill(failures, problem(err)));
}

function showState(s) {
  const figure = (n, label) => h('div', {}, h('b', {}, n), h('span', {}, label));
  return h('div', { class: 'panel' },
    h('p', {}, state(s.state === 'active' && s.reason ? 'waiting' : s.state), s.reason && ` ${s.reason}`, s.since && [', ', ago(s.since)]),
    h('div', { class: 'figures' }, figure(count(s.depth), 'waiting'), figure(count(s.inFlight), 'in flight'), figure(duration(s.oldestAge), 'oldest'), figure(count(s.deadLetters), 'dead letters'),
      s.leases !== undefined && figure(count(s.leases), 'leases out'), s.waiting !== undefined && figure(count(s.waiting), 'receives waiting')),
    s.lastError && h('p', {}, 'Last error, ', ago(s.lastErrorTime), ': ', h('span', { class: 'bad-text' }, s.lastError)),
    h('p', { class: 'note' }, s.from > 0 ? `It takes the events above #${s.from} of its bus.` : 'It takes all events of its bus.'));
}

async function pause(button, { where, whom, failures, refresh }) {
  const reason = h('input', { id: 'reason', maxlength: 250, placeholder: 'maintenance until four' });
  if (!await ask({ title: 'Pause deliveries?', body: ['What matches is queued until they are resumed. ', h('label', { for: 'reason' }, 'Why, for others to see: '), reason], confirm: 'Pause' })) return;
  await act(button, failures, async () => { await post(where + '/pause', { reason: reason.value.trim() }, whom); say('Paused.'); refresh(); });
}

async function seek(button, { where, whom, failures, refresh, name }) {
  const place = h('input', { id: 'place', placeholder: 'start, end, 120 or 2026-01-31T08:00:00Z', autocomplete: 'off' });
  const sure = await ask({
    title: 'Move the subscription?', danger: true, confirm: 'Move',
    body: [h('p', {}, `What ${name} owes now is dropped; it goes on from the place that you give. A place in the past delivers again what was delivered.`),
      h('p', { class: 'stack' }, h('label', { for: 'place' }, 'A sequence, a time, start or end', place))],
  });
  if (!sure) return;
  await act(button, failures, async () => {
    const done = await post(where + '/seek', { to: place.value.trim() }, whom);
    say(`It goes on from #${done.to}; ${many(done.dropped, 'delivery', 'deliveries')} dropped. ${done.note ?? ''}`);
    refresh();
  });
}

// deadLetters lists dead letters, to be redriven and purged.
function deadLetters({ where, whom, signal, failures, name, changed }) {
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
  const send = (what, body, done) => (e) => act(e.currentTarget, failures, async () => {
    const answer = await post(where + '/deadletters/' + what, body(), whom);
    say(`${many(answer.count, 'dead letter')} ${done}.`);
    chosen.clear();
    await read('');
    changed();
  });
  const purge = async (e, n, body, typed) => {
    const button = e.currentTarget;
    if (!await ask({ title: `Purge ${many(n, 'dead letter')}?`, body: 'They are dropped with their attempts, and cannot be redriven any more. The events stay in their bus.', confirm: 'Purge', danger: true, typed })) return;
    await send('purge', () => body, 'purged')({ currentTarget: button });
  };
  const show = () => {
    fill(bar, items.length > 0 && [
      h('button', { type: 'button', class: 'primary', onclick: send('redrive', () => ({}), 'queued again') }, `Redrive all (${count(Math.max(total, items.length))})`),
      h('button', { type: 'button', disabled: chosen.size === 0, onclick: send('redrive', () => ({ ids: [...chosen] }), 'queued again') }, `Redrive chosen (${chosen.size})`),
      h('button', { type: 'button', disabled: chosen.size === 0, onclick: (e) => purge(e, chosen.size, { ids: [...chosen] }) }, 'Purge chosen…'),
      h('button', { type: 'button', onclick: (e) => purge(e, Math.max(total, items.length), { all: true }, name) }, 'Purge all…')]);
    fill(list, items.length === 0 ? h('p', { class: 'soft' }, 'None: nothing was given up.') : items.map((d) => h('article', { class: 'panel', 'data-key': d.id },
      h('div', { class: 'head' },
        h('label', { class: 'check' }, h('input', { type: 'checkbox', onchange: (e) => { if (e.currentTarget.checked) chosen.add(d.id); else chosen.delete(d.id); show(); } }),
          h('span', {}, h('strong', {}, d.event.type), ' ', d.event.subject ?? '')),
        h('div', { class: 'actions' }, link(to.event(d.bus, d.sequence), `${d.bus} #${d.sequence}`),
          h('button', { type: 'button', onclick: send('redrive', () => ({ ids: [d.id] }), 'queued again') }, 'Redrive'))),
      h('p', {}, 'Given up ', time(d.died), ' after ', many(d.attempts.length, 'attempt'), ': ', h('span', { class: 'bad-text' }, d.reason)),
      h('details', { 'data-key': 'attempts' }, h('summary', {}, 'Attempts and event'), h('ol', { class: 'timeline' }, d.attempts.map((a) => showAttempt(a))),
        block(d.event, { raw: address(path('buses', d.bus, 'events', d.sequence)) })))));
    fill(foot, next && h('button', { type: 'button', onclick: (e) => act(e.currentTarget, failures, () => read(next)) }, 'More dead letters'));
  };
  return {
    element: h('div', {}, h('h2', {}, 'Dead letters'), bar, list, foot),
    renew: async (n) => { total = n; await read(''); },
  };
}

// recentAttempts lists recent attempts, those of the newest event first.
function recentAttempts({ where, whom, signal }) {
  const list = h('div');
  const foot = h('div', { class: 'actions' });
  const status = h('select', { id: 'attempts-status' }, [['', 'all'], ['failed', 'failed'], ['ok', 'accepted'], ['timeout', 'timeouts'], ['5xx', 'answered 5xx'], ['4xx', 'answered 4xx']].map(([v, label]) => h('option', { value: v }, label)));
  let items = [];
  let deeper = false;
  const show = (next) => {
    fill(list, items.length === 0 ? h('p', { class: 'soft' }, next ? 'None among those looked at.' : 'None is kept.')
      : h('ol', { class: 'timeline panel' }, items.map((a) => { const li = showAttempt(a, ' · ', link(to.event(a.bus, a.sequence), `${a.bus} #${a.sequence}`)); li.dataset.key += a.delivery; return li; })));
    fill(foot, next && h('button', { type: 'button', onclick: (e) => act(e.currentTarget, list, () => read(next)) }, 'Older attempts'));
  };
  const read = async (after) => {
    const page = await get(where + '/attempts', { ...whom, status: status.value, limit: pageSize, after }, signal);
    items = after ? [...items, ...page.items] : page.items;
    deeper = Boolean(after);
    show(page.next);
  };
  status.onchange = () => read('').catch((err) => err.name !== 'AbortError' && fill(list, problem(err)));
  return {
    element: h('div', {}, h('div', { class: 'head' }, h('h2', {}, 'Recent attempts'), h('div', { class: 'actions' }, h('label', { for: 'attempts-status' }, 'Show'), status)), list, foot),
    renew: async () => { if (!deeper) await read(''); }, // what the reader has asked for stays
  };
}
