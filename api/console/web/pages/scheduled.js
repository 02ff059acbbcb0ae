// Events that wait for their time.
import { h, fill, link, problem, say, ask, act, empty, code } from '../dom.js';
import { get, remove, all, path, address, every } from '../api.js';
import { time, ago, many } from '../words.js';

const pageSize = 100;

export default async function scheduled({ main, params: [wanted], signal }) {
  const names = (await all('v1/buses', {}, signal)).items.map((b) => b.name);
  const bus = wanted ?? names[0];
  const failures = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const foot = h('div', { class: 'actions' });
  const select = h('select', { id: 'bus', onchange: (e) => { location.hash = `#/scheduled/${encodeURIComponent(e.currentTarget.value)}`; } },
    names.map((n) => h('option', { value: n, selected: n === bus }, n)));
  main.append(h('div', { class: 'head' }, h('div', {}, h('h1', {}, 'Scheduled events'), h('p', { class: 'lead' }, 'Acknowledged, and recorded and routed when their time has come. The next first.')),
    h('div', { class: 'actions' }, h('label', { for: 'bus' }, 'Bus'), select)), failures, list, foot);
  if (!bus) {
    fill(list, empty('There is no bus yet.', link('#/buses', 'How to define one')));
    return;
  }
  const where = path('buses', bus, 'scheduled');
  let items = [];
  let deeper = false;
  const read = async (after) => {
    const page = await get(where, { limit: pageSize, after }, signal);
    items = after ? [...items, ...page.items] : page.items;
    deeper = Boolean(after);
    fill(failures);
    fill(list, items.length === 0
      ? empty(`Nothing waits on ${bus}. Publish an event with a delay:`, code(`curl -i '${address(path('buses', bus, 'events'), { delay: '10m' })}' \\\n  -H 'Content-Type: application/cloudevents+json' \\\n  -d '{"specversion": "1.0", "id": "later-1", "source": "/hello", "type": "com.example.reminder"}'`))
      : h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
        h('thead', {}, h('tr', {}, ['Due', 'Type', 'Source', 'Id', ''].map((c) => h('th', { scope: 'col' }, c)))),
        h('tbody', {}, items.map((it) => h('tr', { 'data-key': JSON.stringify([it.source, it.id, it.due]) },
          h('td', { 'data-label': 'Due' }, time(it.due), h('div', { class: 'note' }, ago(it.due))), h('td', { 'data-label': 'Type' }, it.type), h('td', { 'data-label': 'Source' }, it.source), h('td', { class: 'mono', 'data-label': 'Id' }, it.id),
          h('td', {}, h('button', { type: 'button', onclick: (e) => cancel(e.currentTarget, it) }, 'Cancel…'))))))));
    fill(foot, h('span', { class: 'note' }, items.length > 0 && `${many(items.length, 'event')} shown`), page.next && h('button', { type: 'button', onclick: (e) => act(e.currentTarget, failures, () => read(page.next)) }, 'More'));
  };
  const cancel = async (button, it) => {
    if (!await ask({ title: 'Cancel this event?', body: `All scheduled events with source ${it.source} and id ${it.id} are dropped, and never recorded.`, confirm: 'Cancel the event', danger: true })) return;
    await act(button, failures, async () => { await remove(where, { source: it.source, id: it.id }); say('It is cancelled.'); await read(''); });
  };
  every(5000, signal, async () => { if (!deeper) await read(''); }, (err) => fill(failures, problem(err)));
}
