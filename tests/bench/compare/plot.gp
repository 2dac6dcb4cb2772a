# SPDX-License-Identifier: GPL-2.0-or-later
# gnuplot -e "folder='build/compare'" plot.gp: what report.py wrote, as SVG and PNG.
# Each .dat has a block for each variant, panel by panel.

designs = system(sprintf("tr '\\n' ' ' < '%s/variants.dat'", folder))
where = system(sprintf("cat '%s/where.dat'", folder))
count = words(designs)
colour(design) = design eq "single" ? "#888888" : design eq "rwsem" ? "#d95f02" : \
	design eq "refcount" ? "#e6ab02" : design eq "range" ? "#7570b3" : \
	design eq "spf" ? "#1b9e77" : design eq "region" ? "#1f5fb4" : \
	design eq "region-membarrier" ? "#66a3e0" : "#000000"
data(name) = folder . "/" . name . ".dat"
head(text) = text . "\n{/*0.7 " . where . "}"

set encoding utf8
unset mxtics
unset mytics
set grid back lc rgb "#dddddd"
font = "sans,11"

do for [format in "svg png"] {
	terminal(width, height) = sprintf("set terminal %s size %d,%d background 'white' font '%s' enhanced", \
		format eq "svg" ? "svg" : "pngcairo", width, height, font)
	file(name) = folder . "/" . name . "." . format

	# ---- How long accesses take while memory is plugged, moved and unplugged
	eval terminal(1300, 520)
	set output file("distribution")
	set multiplot layout 1,3 title head("Latency while other memory is plugged, moved, unplugged: the share of accesses that take at least so long")
	unset logscale
	set xrange [0.1:1e6]
	set yrange [1e-5:1]
	set logscale xy 10
	set format "10^{%L}"
	set xlabel "us"
	set ylabel "share"
	set key bottom left font ",9"
	panels = "'guest faults (samara stress, KVM)' 'faults, host thread' 'pins, host thread'"
	do for [panel = 1:3] {
		set title word(panels, panel)
		plot for [i = 1:count] data("distribution") index (panel - 1) * count + i - 1 using 1:2 with lines lw 2 \
			lc rgb colour(word(designs, i)) title word(designs, i)
		unset key
	}
	unset multiplot

	# ---- Throughput over threads
	eval terminal(1000, 520)
	set output file("threads")
	set multiplot layout 1,2 title head("Find, hold and let go of a region, all threads in the same one")
	unset logscale
	set xrange [0.9:9]
	set yrange [0:*]
	set logscale x 2
	set format "%g"
	set xlabel "threads"
	set ylabel "per us, all threads"
	set key top left font ",9"
	# Room above the curves for the names.
	set offsets 0,0,graph 0.6,0
	panels = "'nobody writes' 'a writer elsewhere in that region'"
	do for [panel = 1:2] {
		set title word(panels, panel)
		plot for [i = 1:count] data("threads") index (panel - 1) * count + i - 1 using 1:2 with linespoints \
			lw 2 pt 7 ps 0.5 lc rgb colour(word(designs, i)) title word(designs, i)
		unset key
	}
	unset offsets
	unset multiplot

	# ---- Time lines
	eval terminal(1100, 130 * count + 90)
	set output file("timeline")
	set multiplot layout count,1 margins 0.06,0.98,0.07,0.91 spacing 0.04 title head("Longest pin of another region's page, by the ms in which it was due; grey: a change takes place")
	unset logscale
	set xrange [0:400]
	set yrange [0.00001:1000]
	set logscale y
	set format x ""
	set ytics ("1 us" 0.001, "30 us" 0.03, "1 ms" 1, "30 ms" 30)
	set xlabel ""
	unset ylabel
	unset key
	do for [i = 1:count] {
		set title word(designs, i) offset 0,-0.8
		if (i == count) { set xlabel "ms"; set format x "%g" }
		plot data("timeline") index count + i - 1 using ($1 + $2 / 2):(1000):($2) with boxes fill solid 0.25 noborder lc rgb "#999999", \
			data("timeline") index i - 1 using 1:($2 > 0 ? $2 : 0.00001) with filledcurves y1=0.00001 lc rgb colour(word(designs, i))
	}
	unset multiplot
	set title offset 0,0
	set ytics autofreq

	# ---- Cost over the number of regions
	eval terminal(1300, 480)
	set output file("regions")
	set multiplot layout 1,4 title head("One operation on 2 MiB with so many other regions present")
	unset logscale
	set xrange [5:2e6]
	set yrange [0:*]
	set logscale x 10
	set format x "10^{%L}"
	set format y "%g"
	set xlabel "regions"
	set ylabel "us"
	set key bottom right font ",9"
	panels = "'plug, empty' 'unplug, populated' 'remap, populated' 'protect, populated'"
	do for [panel = 1:4] {
		set title word(panels, panel)
		plot for [i = 1:count] data("regions") index (panel - 1) * count + i - 1 using 1:2 with linespoints \
			lw 2 pt 7 ps 0.5 lc rgb colour(word(designs, i)) title word(designs, i)
		unset key
	}
	unset multiplot
	unset output
}
