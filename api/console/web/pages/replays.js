// Replays, and seeks that queue events again: how far they are.
import { h, fill, link, failing, say, ask, act, empty, code, heading, button, table, figures } from '../dom.js';
import { get, remove, all, every, path } from '../api.js';
import { time, state, to, count, many } from '../words.js';

const shownMost = 200;

function purpose(r) {
  if (r.kind !== 'seek') return `Replay for ${r.rules?.length > 0 ? r.rules.join(', ') : 'all rules of the bus'}`;
  const [rule, ...target] = r.subscription.split('/');
  return ['A seek of ', link(to.subscription(rule, target.join('/')), r.subscription)];
}

const columns = [
  ['Replay', (r) => [link(to.replay(r.id), r.name || r.id), h('div', { class: 'note' }, purpose(r))]],
  ['Bus', (r) => r.bus],
  ['State', (r) => state(r.state)],
  ['Started', (r) => time(r.started)],
  ['Looked at', (r) => `${count(r.scanned)} of ${count(r.total)}`, 'num'],
  ['Queued', (r) => count(r.queued), 'num'],
  ['Delivered', (r) => (r.kind === 'seek' ? '–' : count(r.delivered)), 'num'],
  ['Dead', (r) => count(r.dead), 'num'],
];

// replays is the page of all.
export async function replays({ main, signal }) {
  const failures = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  main.append(heading('Replays', 'Stored events that are queued again for rules that match them now. The newest first.'), failures, list);
  every(2500, signal, async () => {
    const { items } = await all('v1/replays', {}, signal);
    const newest = items.toSorted((a, b) => b.started.localeCompare(a.started));
    fill(failures);
    fill(list, items.length > 0 ? table(columns, newest.slice(0, shownMost), (r) => r.id)
      : empty('There was none. The page of an event can replay it to a rule; for many events:', code('switchyard replay orders --from 1 --rule large')));
  }, failing(failures, list));
}

// replay is the page of one.
export async function replay({ main, params: [id], signal }) {
  const failures = h('div');
  const outcome = h('div');
  const body = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  main.append(h('p', { class: 'crumbs' }, link('#/replays', 'Replays')), heading(id), failures, outcome, body);
  const where = path('replays', id);
  const cancel = async (e) => {
    const pressed = e.currentTarget;
    const sure = await ask({
      title: 'Cancel this replay?', confirm: 'Cancel the replay', danger: true,
      body: 'Nothing more is queued, and what it queued and is not settled is dropped.',
    });
    if (!sure) return;
    await act(pressed, outcome, async () => {
      await remove(where);
      say('It is cancelled.');
      refresh();
    });
  };
  const refresh = every(1500, signal, async () => {
    const r = await get(where, {}, signal);
    fill(failures);
    fill(body, h('p', { class: 'lead' }, purpose(r), ' on bus ', link(to.events(r.bus), r.bus), `, #${r.from} to #${r.to}`),
      h('div', { class: 'panel' },
        h('p', {}, state(r.state), r.error && h('span', { class: 'bad-text' }, ` ${r.error}`), ' begun ', time(r.started),
          r.finished && [', ended ', time(r.finished)]),
        h('label', { for: 'progress' }, `${count(r.scanned)} of ${many(r.total, 'event')} looked at`),
        h('progress', { id: 'progress', max: Math.max(1, r.total), value: r.scanned }),
        figures([count(r.queued), 'queued'], r.kind !== 'seek' && [count(r.delivered), 'delivered or expired'], [count(r.remaining), 'remaining'],
          [count(r.dead), 'dead letters'], r.dropped > 0 && [count(r.dropped), 'dropped'], r.skipped > 0 && [count(r.skipped), 'gone by retention']),
        r.when && h('p', {}, 'Only events with ', h('code', {}, r.when)), r.rate > 0 && h('p', {}, `At most ${r.rate} events a second`)),
      r.state === 'running' && h('div', { class: 'actions' }, button('Cancel the replay…', cancel)));
  }, failing(failures, body));
}
