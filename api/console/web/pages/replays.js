// Replays, and seeks that queue events again: how far they are.
import { h, fill, link, problem, say, ask, act, empty, code } from '../dom.js';
import { get, remove, all, every, path } from '../api.js';
import { time, state, to, count, many } from '../words.js';

const shownMost = 200;

const purpose = (r) => (r.kind === 'seek' ? ['A seek of ', h('a', { href: '#/subscriptions/' + r.subscription.split('/').map(encodeURIComponent).join('/') }, r.subscription)] : ['Replay for ', r.rules?.length > 0 ? r.rules.join(', ') : 'all rules of the bus']);

// replays is the page of all.
export async function replays({ main, signal }) {
  const failures = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  main.append(h('h1', {}, 'Replays'), h('p', { class: 'lead' }, 'Stored events that are queued again for rules that match them now. The newest first.'), failures, list);
  every(2500, signal, async () => {
    const { items } = await all('v1/replays', {}, signal);
    fill(failures);
    const newest = items.toSorted((a, b) => b.started.localeCompare(a.started));
    fill(list, items.length === 0
      ? empty('There was none. The page of an event can replay it to a rule; for many events:', code('switchyard replay orders --from 1 --rule large'))
      : h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
        h('thead', {}, h('tr', {}, ['Replay', 'Bus', 'State', 'Started'].map((c) => h('th', { scope: 'col' }, c)), ['Looked at', 'Queued', 'Delivered', 'Dead'].map((c) => h('th', { scope: 'col', class: 'num' }, c)))),
        h('tbody', {}, newest.slice(0, shownMost).map((r) => h('tr', { 'data-key': r.id },
          h('td', {}, link(to.replay(r.id), r.name || r.id), h('div', { class: 'note' }, purpose(r))), h('td', { 'data-label': 'Bus' }, r.bus), h('td', { 'data-label': 'State' }, state(r.state)), h('td', { 'data-label': 'Started' }, time(r.started)),
          h('td', { class: 'num', 'data-label': 'Looked at' }, `${count(r.scanned)} of ${count(r.total)}`), h('td', { class: 'num', 'data-label': 'Queued' }, count(r.queued)),
          h('td', { class: 'num', 'data-label': 'Delivered' }, r.kind === 'seek' ? '–' : count(r.delivered)), h('td', { class: 'num', 'data-label': 'Dead' }, count(r.dead))))))));
  }, (err) => fill(failures, problem(err)));
}

// replay is the page of one.
export async function replay({ main, params: [id], signal }) {
  const failures = h('div');
  const body = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  main.append(h('p', { class: 'crumbs' }, link('#/replays', 'Replays')), h('h1', {}, id), failures, body);
  const where = path('replays', id);
  const refresh = every(1500, signal, async () => {
    const r = await get(where, {}, signal);
    fill(failures);
    const figure = (n, label) => h('div', {}, h('b', {}, count(n)), h('span', {}, label));
    fill(body, h('p', { class: 'lead' }, purpose(r), ' on bus ', link(to.events(r.bus), r.bus), `, #${r.from} to #${r.to}`),
      h('div', { class: 'panel' },
        h('p', {}, state(r.state), r.error && h('span', { class: 'bad-text' }, ` ${r.error}`), ' begun ', time(r.started), r.finished && [', ended ', time(r.finished)]),
        h('label', { for: 'progress' }, `${count(r.scanned)} of ${many(r.total, 'event')} looked at`),
        h('progress', { id: 'progress', max: Math.max(1, r.total), value: r.scanned }),
        h('div', { class: 'figures' }, figure(r.queued, 'queued'), r.kind !== 'seek' && figure(r.delivered, 'delivered or expired'), figure(r.remaining, 'remaining'), figure(r.dead, 'dead letters'), r.dropped > 0 && figure(r.dropped, 'dropped'), r.skipped > 0 && figure(r.skipped, 'gone by retention')),
        r.when && h('p', {}, 'Only events with ', h('code', {}, r.when)), r.rate > 0 && h('p', {}, `At most ${r.rate} events a second`)),
      r.state === 'running' && h('div', { class: 'actions' }, h('button', {
        type: 'button', onclick: async (e) => {
          const button = e.currentTarget;
          if (!await ask({ title: 'Cancel this replay?', body: 'Nothing more is queued, and what it queued and is not settled is dropped.', confirm: 'Cancel the replay', danger: true })) return;
          await act(button, failures, async () => { await remove(where); say('It is cancelled.'); refresh(); });
        },
      }, 'Cancel the replay…')));
    document.getElementById('progress').value = r.scanned;
  }, (err) => fill(failures, problem(err)));
}
