// The report: figures, the graph, and what is told of a module. map.js, tree.js and rows.js come after it.

(() => {
    'use strict';

    const { count, data, graph, instead, make, operations, query, served } = window.page;
    const at = (id) => document.getElementById(id);
    const byName = new Map(data.modules.map((module) => [module.name, module]));
    const changed = (module) => Boolean(module.change);
    const CHANGES = { adapted: 'adapter', trained: 'trained in full', bias: 'bias trained' };
    const own = (module) => (module.frozen || 0) + (module.trainable || 0);
    const percent = (value) => `${(100 * value).toPrecision(value >= 1 ? 3 : 2)} %`;
    const short = (value) => Number(value.toPrecision(3)).toString();

    // --- the graph

    const asked = new URLSearchParams(window.location.search).get('node');
    const nodeOf = (name) => {
        const module = byName.get(name);
        return module ? module.node : name; // a node need not be a module
    };
    let netron = null;
    if (data.graph && served) {
        netron = graph({ model: 'adapted', node: asked && nodeOf(asked) }, 'The model in Netron', (said) => {
            if (said.is === 'ready') {
                document.documentElement.dataset.drawn = String(Math.round(performance.now()));
                window.scrollTo(0, 0); // Netron takes the focus, and on a small screen the place
            }
        });
        at('graph').append(netron.frame);
    } else {
        at('graph').append(instead(data.pictures.filter((name) => name.endsWith('.svg'))));
    }

    // --- one module, in words

    const words = (module) => {
        const sums = module.sums || {};
        const inside = sums.adapters && module.role !== 'adapted';
        const values = [
            ['', module.kind], ['r', module.r], ['alpha', module.lora_alpha], ['scaling', module.scaling],
            ['dropout', module.lora_dropout], ['adapters', inside ? sums.adapters : null],
            ['trainable', sums.trainable ? count(sums.trainable) : null], ['frozen', sums.frozen ? count(sums.frozen) : null],
            [data.flops_per ? `FLOPs per ${data.flops_per}` : 'FLOPs', sums.flops ? operations(sums.flops) : null],
            ['by the adapter', sums.adapter_flops ? `+${operations(sums.adapter_flops)}` : null],
            ['update', module.relative_update !== undefined ? percent(module.relative_update) : null],
            ['norm', typeof sums.update_norm === 'number' ? short(sums.update_norm) : null]
        ];
        return values.filter(([, value]) => value !== null && value !== undefined);
    };
    const describe = (module) => [
        make('div', {}, make('strong', {}, module.name), ' ', make('span', { class: 'quiet' }, module.type), ' ',
            changed(module) && make('span', { class: `badge ${module.change}` }, CHANGES[module.change])),
        make('div', { class: 'values' }, ...words(module).map(([name, value]) => make('div', {}, make('span', {}, name ? `${name} ` : ''), String(value))),
            make('div', { class: 'quiet' }, module.why))
    ];

    let picked = null;
    const tell = (module) => at('told').replaceChildren(...(module ? describe(module) : [
        make('div', { class: 'quiet' }, 'Point at a cell or a name to read it; click to open it in the graph.')
    ]));
    const shows = new Map(); // the elements that stand for a module
    const standsFor = (element, module) => {
        shows.set(module.name, [...(shows.get(module.name) || []), element]);
        return element;
    };
    const pick = (module, open = true) => {
        for (const element of (picked && shows.get(picked.name)) || []) {
            element.classList.remove('picked');
        }
        picked = module;
        for (const element of shows.get(module.name) || []) {
            element.classList.add('picked');
        }
        tell(module);
        if (open) {
            if (netron) {
                netron.tell({ is: 'select', node: module.node });
            }
            if (served) {
                window.history.replaceState(null, '', query({ node: module.name }));
            }
        }
    };
    const link = (module, properties, ...children) => standsFor(make('a', {
        href: query({ node: module.name }),
        onclick: (event) => {
            if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
                event.preventDefault();
                pick(module);
            }
        },
        onpointerenter: () => tell(module),
        onpointerleave: () => tell(picked),
        onfocus: () => tell(module),
        ...properties
    }, ...children), module);

    // --- the rest

    const showFacts = () => {
        const lines = (title, values) => values.length > 0 ? [
            make('h2', {}, title),
            make('table', {}, ...values.map(([name, value]) => make('tr', {}, make('td', {}, name), make('td', {}, String(value)))))
        ] : [];
        at('facts').append(
            make('div', { class: 'top' }, make('strong', {}, data.title), make('button', { type: 'button', onclick: () => at('facts').close() }, 'close')),
            ...lines('The graph', data.facts), ...lines('Settings of the run', data.settings)
        );
    };

    at('figures').append(...data.figures.map(([name, value, about]) => make('div', {}, make('dt', {}, name), make('dd', {}, value), make('dd', {}, about.replace(/ %/g, '\u00a0%')))));
    at('links').append(
        ...(data.compare ? [make('a', { href: 'compare.html' }, 'Compare with the base')] : []),
        ...(data.pictures.length > 0 ? [make('span', { class: 'quiet' }, 'Pictures: ', ...data.pictures.flatMap((name, index) => [
            index > 0 ? ', ' : '', make('a', { href: `pictures/${name}` }, name)
        ]))] : []),
        make('a', { href: 'placement.json' }, 'placement.json'),
        make('a', { href: '#facts', onclick: (event) => { event.preventDefault(); at('facts').showModal(); } }, 'All facts')
    );
    tell(null);
    showFacts();

    window.report = { CHANGES, asked, at, byName, changed, isPicked: (module) => module === picked, link, own, percent, pick, short, shows };
})();
