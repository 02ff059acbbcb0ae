// Events that wait for their time.
import { h, fill, link, failing, say, ask, act, empty, code, heading, button, table } from '../dom.js';
import { get, remove, all, path, address, every } from '../api.js';
import { time, ago, many } from '../words.js';

const pageSize = 100;

export default async function scheduled({ main, params: [wanted], signal }) {
  const names = (await all('v1/buses', {}, signal)).items.map((b) => b.name);
  const bus = wanted ?? names[0];
  const failures = h('div');
  const outcome = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const foot = h('div', { class: 'actions' });
  const select = h('select', { id: 'bus', onchange: () => { location.hash = `#/scheduled/${encodeURIComponent(select.value)}`; } },
    names.map((n) => h('option', { value: n, selected: n === bus }, n)));
  main.append(heading('Scheduled events', 'Acknowledged, and recorded and routed when their time has come. The next first.',
    h('label', { for: 'bus' }, 'Bus'), select), failures, outcome, list, foot);
  if (!bus) {
    fill(list, empty('There is no bus yet.', link('#/buses', 'How to define one')));
    return;
  }
  const where = path('buses', bus, 'scheduled');
  const columns = [
    ['Due', (it) => [time(it.due), h('div', { class: 'note' }, ago(it.due))]],
    ['Type', (it) => it.type],
    ['Source', (it) => it.source],
    ['Id', (it) => it.id, 'mono'],
    ['', (it) => button('Cancel…', (e) => cancel(e.currentTarget, it))],
  ];
  let items = [];
  let deeper = false;
  const read = async (after) => {
    const page = await get(where, { limit: pageSize, after }, signal);
    items = after ? [...items, ...page.items] : page.items;
    deeper = Boolean(after);
    fill(failures);
    fill(list, items.length > 0 ? table(columns, items, (it) => JSON.stringify([it.source, it.id, it.due]))
      : empty(`Nothing waits on ${bus}. Publish an event with a delay:`, code(later(bus))));
    fill(foot, items.length > 0 && h('span', { class: 'note' }, `${many(items.length, 'event')} shown`),
      page.next && button('More', (e) => act(e.currentTarget, outcome, () => read(page.next))));
  };
  const cancel = async (pressed, it) => {
    const sure = await ask({
      title: 'Cancel this event?', confirm: 'Cancel the event', danger: true,
      body: `All scheduled events with source ${it.source} and id ${it.id} are dropped, and never recorded.`,
    });
    if (!sure) return;
    await act(pressed, outcome, async () => {
      await remove(where, { source: it.source, id: it.id });
      say('It is cancelled.');
      await read('');
    });
  };
  every(5000, signal, async () => { if (!deeper) await read(''); }, failing(failures, list));
}

// later is a command that publishes an event for later.
const later = (bus) => `curl -i '${address(path('buses', bus, 'events'), { delay: '10m' })}' \\
  -H 'Content-Type: application/cloudevents+json' \\
  -d '{"specversion": "1.0", "id": "later-1", "source": "/hello", "type": "com.example.reminder"}'`;
