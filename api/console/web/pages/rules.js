// Rules: what they match and why, and a place to try changes of them on events
// without saving anything.
import { h, fill, link, problem, act, empty, code } from '../dom.js';
import { get, post, all, every, path } from '../api.js';
import { time, state, to, many, count } from '../words.js';
import { block, after } from '../json.js';
import { showVerdict, showExplanation } from './event.js';
import { definition, origin, busYAML } from './objects.js';
import { subscriptionTable } from './subscriptions.js';

const dialects = { when: 'CEL', pattern: 'event pattern', filters: 'CloudEvents filters', sql: 'CloudEvents SQL' };
const shownMost = 500;

const dialectOf = (r) => Object.keys(dialects).find((d) => r[d] !== undefined && r[d] !== '');

// filterOf is a rule's filter as text.
function filterOf(r) {
  const d = dialectOf(r);
  if (!d) return '';
  return typeof r[d] === 'string' ? r[d].trim() : JSON.stringify(r[d], null, 2);
}

// rules is the page of all.
export async function rules({ main, signal }) {
  const failures = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const search = h('input', { id: 'narrow', placeholder: 'part of a name, bus or filter', autocomplete: 'off' });
  main.append(h('div', { class: 'head' }, h('div', {}, h('h1', {}, 'Rules'), h('p', { class: 'lead' }, 'Each looks at the events of a bus, and sends those that its filter matches to its targets.')),
    h('div', { class: 'actions' }, h('label', { for: 'narrow' }, 'Only'), search)), failures, list);
  let items = [];
  const show = () => {
    const wanted = search.value.trim();
    const fit = items.filter((r) => [r.name, r.bus ?? '', filterOf(r)].some((t) => t.includes(wanted)));
    fill(list, items.length === 0 ? empty('There is no rule yet. Write a file such as this, and start the server with it:', code(busYAML), code('switchyard serve -c switchyard.yaml'))
      : fit.length === 0 ? empty('No rule has that in it.') : [h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
        h('thead', {}, h('tr', {}, ['Name', 'Bus', 'Filter', 'Targets'].map((c) => h('th', { scope: 'col' }, c)), h('th', { scope: 'col', class: 'num' }, 'Matched'), h('th', { scope: 'col', class: 'num' }, 'Errors'))),
        h('tbody', {}, fit.slice(0, shownMost).map((r) => h('tr', { 'data-key': r.name },
          h('td', {}, link(to.rule(r.name), r.name), r.status?.suspended && [' ', state('suspended')]),
          h('td', { 'data-label': 'Bus' }, r.bus ?? ''), h('td', { 'data-label': 'Filter' }, h('code', {}, short(filterOf(r)) || 'matches everything')),
          h('td', { 'data-label': 'Targets' }, (r.targets ?? []).map((t, i) => [i > 0 && ', ', link(to.target(t), t)])),
          h('td', { class: 'num', 'data-label': 'Matched' }, count(r.status?.matched)),
          h('td', { class: 'num', 'data-label': 'Errors' }, r.status?.errors > 0 ? h('strong', { class: 'bad-text' }, count(r.status.errors)) : '0')))))),
      fit.length > shownMost && h('p', { class: 'note' }, `The first ${shownMost} of ${count(fit.length)}; narrow them down above.`)]);
  };
  search.oninput = show;
  every(5000, signal, async () => {
    ({ items } = await all('v1/rules', {}, signal));
    fill(failures);
    show();
  }, (err) => fill(failures, problem(err)));
}

const short = (s) => (s.length > 140 ? s.slice(0, 140) + '…' : s);

// rule is the page of one.
export async function rule({ main, params: [name], signal }) {
  const failures = h('div');
  const about = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const trial = h('section', { 'aria-label': 'Try it' });
  const past = h('section', { 'aria-label': 'Versions' });
  main.append(h('p', { class: 'crumbs' }, link('#/rules', 'Rules')), h('h1', {}, name), failures, about, trial, past);
  let first = null;
  const where = path('rules', name);
  try {
    first = await get(where, {}, signal);
  } catch (err) {
    if (err.status !== 404) throw err;
    fill(failures, problem(err));
    fill(about);
  }
  await versions(past, where, signal);
  if (!first) return;
  every(4000, signal, async () => {
    const r = await get(where, {}, signal);
    const subs = await all('v1/subscriptions', {}, signal);
    fill(failures);
    showRule(about, r, subs.items.filter((s) => s.rule === name));
  }, (err) => fill(failures, problem(err)));
  await tryIt(trial, first, signal);
}

const classes = {
  indexed: 'found by an index, whatever the number of rules', mixed: 'narrowed down by an index, then evaluated', scan: 'evaluated on every event of the bus',
};

function showRule(section, r, subs) {
  const st = r.status ?? {};
  const figure = (n, label) => h('div', {}, h('b', {}, n), h('span', {}, label));
  const dialect = dialectOf(r);
  fill(section,
    h('p', { class: 'lead' }, 'On bus ', link(to.events(r.bus ?? 'default'), r.bus ?? 'default'), ', to ', (r.targets ?? []).map((t, i) => [i > 0 && ', ', link(to.target(t), t)]), `. Defined in ${origin(r)}.`),
    st.suspended && h('p', { class: 'banner bad' }, 'The rule is suspended: its filter costs too much. ', st.lastError ?? ''),
    h('div', { class: 'panel' },
      h('div', { class: 'figures' }, st.version > 0 && figure(st.version, 'version'), figure(count(st.evaluated), 'evaluated'), figure(count(st.matched), 'matched'), figure(count(st.errors), 'errors')),
      h('p', {}, 'Its events are ', state(st.class), ` ${classes[st.class] ?? ''}`, st.classReason && h('span', { class: 'soft' }, `: ${st.classReason}`)),
      st.lastError && h('p', {}, 'Last error: ', h('span', { class: 'bad-text' }, st.lastError)),
      (st.enrich ?? []).map((e) => h('p', {}, `It asks ${e.name}: circuit breaker `, state(e.breaker), ' ', e.reason ?? ''))),
    h('h2', {}, `Filter${dialect ? ` in ${dialects[dialect]}` : ''}`), dialect ? code(filterOf(r)) : h('p', {}, 'None: it matches every event of its bus.'),
    h('details', { 'data-key': 'definition' }, h('summary', {}, 'The whole definition'), code(definition(r))),
    r.tests?.length > 0 && h('details', { 'data-key': 'tests' }, h('summary', {}, `${many(r.tests.length, 'test')} stand with it`),
      h('p', { class: 'note' }, 'They are run by switchyard rules test, and when the rule is loaded from a file with validate.'),
      r.tests.slice(0, 50).map((t) => h('div', { class: 'two' }, block(t.event), h('div', {}, h('p', { class: 'note' }, 'Expected'), block(t.expect ?? 'match'))))),
    h('h2', {}, 'Subscriptions'), subs.length > 0 ? subscriptionTable(subs) : h('p', { class: 'soft' }, 'None.'));
}

async function versions(section, where, signal) {
  let page;
  try {
    page = await get(where + '/versions', { limit: 50 }, signal);
  } catch (err) {
    if (err.status !== 404) throw err;
    return;
  }
  section.append(h('h2', {}, 'Versions'), h('div', { class: 'panel' }, page.items.map((v) => h('details', { class: 'verdict' },
    h('summary', {}, `Version ${v.version}, since `, time(v.since), v.current && [' ', state('in force')], v.removed && ' – the rule was removed'),
    h('p', { class: 'note' }, v.bus && `For events of ${v.bus} above #${v.after}.`), v.definition && block(v.definition)))),
  page.next && h('p', { class: 'note' }, 'Older ones are not shown.'));
}

// tryIt is a scratch copy of the rule, to be tried on an event and on history.
async function tryIt(section, r, signal) {
  const bus = r.bus ?? 'default';
  const dialect = h('select', { id: 'dialect' }, Object.entries(dialects).map(([d, label]) => h('option', { value: d, selected: d === (dialectOf(r) ?? 'when') }, label)));
  const filter = h('textarea', { id: 'filter', rows: 5, spellcheck: 'false', value: filterOf(r) });
  const transform = h('textarea', { id: 'transform', rows: 7, spellcheck: 'false', value: r.transform ? JSON.stringify(r.transform, null, 2) : '', placeholder: '{"data": {"order": "${{ event.data.id }}"}}' });
  const event = h('textarea', { id: 'event', rows: 14, spellcheck: 'false' });
  const from = h('input', { id: 'from', value: '', placeholder: 'sequence or time', autocomplete: 'off' });
  const until = h('input', { id: 'to', value: '', placeholder: 'newest', autocomplete: 'off' });
  const answer = h('div', { class: 'answer' });
  const place = h('div');

  // asked is the rule as it stands here: as it is in force, while nothing was
  // changed, so that its enrichments are known.
  const asked = () => {
    if (filter.value.trim() === filterOf(r) && transform.value.trim() === (r.transform ? JSON.stringify(r.transform, null, 2) : '') && dialect.value === (dialectOf(r) ?? 'when')) return { rule: r.name };
    const text = filter.value.trim();
    const body = { filter: {} };
    if (text) body.filter[dialect.value] = dialect.value === 'pattern' || dialect.value === 'filters' ? json(text, 'filter') : text;
    if (transform.value.trim()) body.transform = json(transform.value, 'transform');
    return body;
  };
  const buttonEvent = h('button', {
    type: 'button', class: 'primary', onclick: (e) => act(e.currentTarget, place, async () => {
      answer.replaceChildren();
      const before = json(event.value, 'event');
      showTrial(answer, await post('v1/rules/test', { ...asked(), event: before }), before);
    }),
  }, 'Try it on the event');
  const buttonPast = h('button', {
    type: 'button', onclick: (e) => act(e.currentTarget, place, async () => {
      answer.replaceChildren();
      const body = { ...asked(), from: from.value.trim() || 1, samples: 10 };
      if (until.value.trim()) body.to = until.value.trim();
      if (!body.rule) body.bus = bus;
      await overHistory(answer, body, bus);
    }),
  }, 'Run it over what is stored');

  section.append(h('h2', {}, 'Try it'), h('p', { class: 'note' }, 'Change the filter and the transform as you like: nothing is saved, and nothing is sent.'),
    h('div', { class: 'panel' }, h('div', { class: 'two' },
      h('div', { class: 'stack' }, h('label', {}, 'Dialect', dialect), h('label', {}, 'Filter', filter), h('label', {}, 'Transform (JSON)', transform)),
      h('div', { class: 'stack' }, h('label', {}, 'Event (JSON)', event))),
    h('div', { class: 'actions' }, buttonEvent, buttonPast, h('label', { for: 'from' }, 'from'), from, h('label', { for: 'to' }, 'to'), until), place, answer));

  const found = await get('v1/events/search', { bus, data: true, limit: 1 }, signal);
  const newest = found.items[0]?.event ?? { specversion: '1.0', id: '1', source: '/hello', type: 'com.example.hello', data: { text: 'hello' } };
  if (event.value === '') event.value = JSON.stringify(newest, null, 2); // what was typed meanwhile stays
}

// json reads what was typed; the error says where it is wrong.
function json(source, what) {
  try {
    return JSON.parse(source);
  } catch (err) {
    throw Object.assign(new Error(`The ${what} is not JSON: ${err.message}`), { title: 'It cannot be read.' });
  }
}

function showTrial(answer, res, before) {
  fill(answer, h('h3', {}, 'What came of it'), showVerdict('', res.matched, res.explanation, true),
    res.error && h('p', { class: 'banner bad' }, res.error),
    (res.warnings ?? []).map((w) => h('p', { class: 'banner warn' }, w.pointer && [h('code', {}, w.pointer), ' '], w.message)),
    res.event ? h('div', { class: 'two' }, h('div', {}, h('p', { class: 'note' }, 'The event'), block(before)), h('div', {}, h('p', { class: 'note' }, 'What would be delivered; what is new is marked'), after(res.event, before))) : null);
}

// overHistory runs a rule over stored events, a stretch of them a request, as
// long as the reader wants.
async function overHistory(answer, body, bus) {
  const sum = { scanned: 0, matched: 0, failed: 0, transformFailed: 0 };
  let found = await post('v1/rules/test', body);
  const event = (seq) => link(to.event(bus, seq), `#${seq}`);
  const show = () => {
    const figure = (n, label) => h('div', {}, h('b', {}, count(n)), h('span', {}, label));
    fill(answer, h('h3', {}, `Events #${body.from} to #${found.to}`),
      h('div', { class: 'figures', role: 'status' }, figure(sum.scanned, 'looked at'), figure(sum.matched, 'match'), figure(sum.failed, 'the filter fails on'), figure(sum.transformFailed, 'the transform fails on')),
      found.note && h('p', { class: 'note' }, found.note),
      !found.complete && h('p', {}, 'The time of one request was over. ', h('button', {
        type: 'button', onclick: (e) => act(e.currentTarget, null, async () => { found = await post('v1/rules/test', { ...body, from: found.next }); tally(); }),
      }, 'Go on')),
      found.matches.length > 0 && h('details', { open: true, 'data-key': 'matches' }, h('summary', {}, 'The last that match, as they would be delivered'),
        found.matches.map((m) => h('div', { class: 'verdict' }, event(m.sequence), block(m.event)))),
      found.nearMisses.length > 0 && h('details', { 'data-key': 'misses' }, h('summary', {}, 'The nearest misses'),
        found.nearMisses.map((m) => h('div', { class: 'verdict' }, event(m.sequence), ` by ${many(m.misses, 'condition')}: ${m.explanation.summary}`, showExplanation(m.explanation)))),
      found.failures.length > 0 && h('details', { open: true, 'data-key': 'failures' }, h('summary', {}, 'Failures'),
        found.failures.map((m) => h('div', { class: 'verdict' }, event(m.sequence), ` the ${m.stage} fails: `, h('span', { class: 'bad-text' }, m.error)))));
  };
  const tally = () => {
    for (const name of Object.keys(sum)) sum[name] += found[name];
    show();
  };
  tally();
}
