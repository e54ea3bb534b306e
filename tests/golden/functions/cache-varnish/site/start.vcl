vcl 4.1;
# What Varnish is started with: generation000002, and the patience that its log needs.

import vtc;

sub vcl_init {
    # The log looks for a new worker ten times a second, and never sees what was written before it found it.
    vtc.sleep(0.4s);
}

include "/run/clover/sdc/w/web-cache-v2/conf/000002/site/cache.vcl";
